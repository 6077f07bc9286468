# Reference values of riskRegression, cmprsk, mice, rms and survival's multi-state survfit for the tests:
# Rscript make_prediction_reference.R, in this folder, after make_survival_reference.R, whose tables it reads.
# Writes prediction_tables.csv (causes and predictions), prediction_curves.csv (cumulative incidence) and
# prediction_values.csv (everything else).
suppressMessages({library(survival); library(riskRegression); library(cmprsk); library(mice); library(rms)})
options(digits = 17)
set.seed(11)
tables <- read.csv("survival_tables.csv")
exact <- coxph.control(eps = 1e-13, toler.chol = 1e-14, toler.inf = 1e-4, iter.max = 100)
extra <- NULL; values <- NULL; curves <- NULL
text <- function(x) sprintf("%.17g", as.numeric(x))
keep <- function(name, quantity, value) values <<- rbind(values,
  data.frame(table = name, quantity = quantity, value = text(value)))
for (name in unique(tables$table)) {
  d <- tables[tables$table == name, ]
  d$row <- seq_len(nrow(d)) - 1
  d$cause <- ifelse(d$event == 1, 1 + rbinom(nrow(d), 1, 0.4), 0)
  # predictions that are neither perfect nor useless, no two alike
  d$probability <- round(plogis(0.8 * d$risk + rnorm(nrow(d)) - 1), 6)
  extra <- rbind(extra, d[, c("table", "row", "cause", "probability")])
  for (share in c(4, 2)) {
    horizon <- max(d$month) / share
    s <- Score(list(m = matrix(d$probability, ncol = 1)), formula = Surv(month, event) ~ 1, data = d, times = horizon,
               metrics = c("auc", "brier"), conf.int = FALSE, cens.model = "km")
    keep(name, paste0("auc_", share), s$AUC$score$AUC[1])
    keep(name, paste0("brier_", share), s$Brier$score[model == "m"]$Brier)
    keep(name, paste0("brier_null_", share), s$Brier$score[model == "Null model"]$Brier)
  }
  # cumulative incidence: cmprsk for the estimate, survival's multi-state fit for estimate and standard error
  fit <- survfit(Surv(month, factor(cause, 0:2)) ~ 1, d)
  for (k in 1:2) {
    state <- k + 1
    by_gray <- timepoints(cuminc(d$month, d$cause), fit$time)$est[paste("1", k), ]
    curves <- rbind(curves, data.frame(table = name, cause = k, month = fit$time, incidence = text(fit$pstate[, state]),
                                       se = text(fit$std.err[, state]), cuminc = text(by_gray)))
  }
  # Firth's penalty by brute force: the penalised partial likelihood of coxph, maximised and profiled
  penalised <- function(b) {
    f <- coxph(Surv(month, event) ~ group, d, init = b, control = coxph.control(iter.max = 0))
    f$loglik[2] - log(f$var[1, 1]) / 2
  }
  best <- optimize(penalised, c(-5, 5), maximum = TRUE, tol = 1e-10)
  drop <- function(b) 2 * (best$objective - penalised(b)) - qchisq(0.95, 1)
  keep(name, "firth_log_hr", best$maximum)
  keep(name, "firth_low", uniroot(drop, c(best$maximum - 8, best$maximum), tol = 1e-12)$root)
  keep(name, "firth_high", uniroot(drop, c(best$maximum, best$maximum + 8), tol = 1e-12)$root)
  keep(name, "firth_p", pchisq(2 * (best$objective - penalised(0)), 1, lower.tail = FALSE))
  # test of added value, and of a spline against a line
  small <- coxph(Surv(month, event) ~ group + age, d, control = exact)
  large <- coxph(Surv(month, event) ~ group + age + risk, d, control = exact)
  keep(name, "added_chisq", anova(small, large)$Chisq[2])
  knots <- quantile(d$age, c(0.05, 0.35, 0.65, 0.95))
  line <- coxph(Surv(month, event) ~ age, d, control = exact)
  curve <- coxph(Surv(month, event) ~ rcspline.eval(age, knots, inclx = TRUE), d, control = exact)
  keep(name, "spline_chisq", anova(line, curve)$Chisq[2])
  # restricted means of the two groups
  r <- summary(survfit(Surv(month, event) ~ group, d), rmean = max(d$month) / 2)$table
  keep(name, "rmst_difference", r[2, "rmean"] - r[1, "rmean"])
  keep(name, "rmst_error", sqrt(sum(r[, "se(rmean)"]^2)))
  # proportional hazards of one covariate
  keep(name, "zph_one", cox.zph(coxph(Surv(month, event) ~ group, d, control = exact), transform = "km")$table[1, "p"])
}
# Rubin's rules
q <- c(0.41, 0.52, 0.38, 0.47, 0.44); u <- c(0.040, 0.043, 0.039, 0.041, 0.042)
p <- pool.scalar(q, u, n = 96, k = 6)
for (what in c("qbar", "t", "df", "fmi")) keep("pool", what, p[[what]])
write.csv(extra, "prediction_tables.csv", row.names = FALSE)
write.csv(curves, "prediction_curves.csv", row.names = FALSE)
write.csv(values, "prediction_values.csv", row.names = FALSE)
