# Reference values of R's survival package for the tests: Rscript make_survival_reference.R, in this folder.
# Writes survival_tables.csv (the data), survival_curves.csv (survfit) and survival_values.csv (everything else).
library(survival)
options(digits = 17)
set.seed(7)

make <- function(name, n, rate, end, step, p_group) {
  death <- rexp(n, rate); censoring <- runif(n, 5, end)
  month <- pmin(death, censoring)
  if (step > 0) month <- ceiling(month / step) * step
  group <- rbinom(n, 1, p_group)
  data.frame(table = name, month = round(month, 3), event = as.integer(death <= censoring), group = group,
             age = round(rnorm(n, 55, 11)), risk = round(rnorm(n) + 0.5 * group, 1))
}
tables <- rbind(
  make("plain", 120, 0.02, 80, 0, 0.4),      # no tied times
  make("ties", 150, 0.03, 60, 3, 0.5),       # quarterly visits: heavy ties
  make("rare", 160, 0.004, 70, 1, 0.05),     # few events, small group
  make("censored", 200, 0.005, 20, 2, 0.3))  # short follow-up
# survival's own data, so that the tests do not rest on made-up tables alone
own <- with(subset(lung, !is.na(ph.ecog)), data.frame(table = "lung", month = time, event = status - 1,
            group = sex - 1, age = age, risk = ph.ecog))
tables <- rbind(tables, own)
write.csv(tables, "survival_tables.csv", row.names = FALSE)

# R stops at a relative change of 1e-9 in the likelihood; go on to the last digit
exact <- coxph.control(eps = 1e-13, toler.chol = 1e-14, toler.inf = 1e-4, iter.max = 100)
values <- NULL; curves <- NULL
keep <- function(name, quantity, value) values <<- rbind(values,
  data.frame(table = name, quantity = quantity, value = sprintf("%.17g", as.numeric(value))))
for (name in unique(tables$table)) {
  d <- tables[tables$table == name, ]
  fit <- survfit(Surv(month, event) ~ 1, d, conf.type = "log-log")
  curves <- rbind(curves, data.frame(table = name, month = fit$time, survival = sprintf("%.17g", fit$surv),
    low = sprintf("%.17g", fit$lower), high = sprintf("%.17g", fit$upper), at_risk = fit$n.risk,
    events = fit$n.event, censored = fit$n.censor))
  back <- survfit(Surv(month, 1 - event) ~ 1, d, conf.type = "log-log")
  for (end in c("median", "0.95LCL", "0.95UCL")) {
    suffix <- c("median" = "", "0.95LCL" = "_low", "0.95UCL" = "_high")[end]
    keep(name, paste0("median_survival", suffix), summary(fit)$table[end])
    keep(name, paste0("median_follow_up", suffix), summary(back)$table[end])
  }
  r <- summary(survfit(Surv(month, event) ~ 1, d), rmean = max(d$month) / 2)$table
  keep(name, "rmean", r["rmean"]); keep(name, "rmean_error", r["se(rmean)"])
  for (ties in c("efron", "breslow")) {
    s <- summary(coxph(Surv(month, event) ~ group, d, ties = ties, control = exact))
    keep(name, paste0(ties, "_hr"), s$conf.int[1]); keep(name, paste0(ties, "_low"), s$conf.int[3])
    keep(name, paste0(ties, "_high"), s$conf.int[4]); keep(name, paste0(ties, "_p"), s$coefficients[5])
  }
  s <- summary(coxph(Surv(month, event) ~ scale(risk), d, control = exact))
  keep(name, "per_sd_hr", s$conf.int[1]); keep(name, "per_sd_p", s$coefficients[5])
  fit2 <- coxph(Surv(month, event) ~ group + age + risk, d, control = exact)
  s <- summary(fit2)
  for (v in c("group", "age", "risk")) {
    keep(name, paste0("adjusted_hr_", v), s$conf.int[v, 1]); keep(name, paste0("adjusted_low_", v), s$conf.int[v, 3])
    keep(name, paste0("adjusted_p_", v), s$coefficients[v, 5])
  }
  keep(name, "adjusted_loglik_0", fit2$loglik[1]); keep(name, "adjusted_loglik_1", fit2$loglik[2])
  z <- cox.zph(fit2, transform = "km")$table
  for (v in rownames(z)) keep(name, paste0("zph_chisq_", v), z[v, "chisq"])
  keep(name, "strata_hr_risk", exp(coef(coxph(Surv(month, event) ~ risk + strata(group), d, control = exact))))
  test <- survdiff(Surv(month, event) ~ group, d)
  keep(name, "logrank_chisq", test$chisq)
  keep(name, "logrank_p", pchisq(test$chisq, 1, lower.tail = FALSE))
  keep(name, "harrell", concordance(Surv(month, event) ~ risk, d, reverse = TRUE)$concordance)
  keep(name, "harrell_error", sqrt(concordance(Surv(month, event) ~ risk, d, reverse = TRUE)$var))
  # two markers on the same patients: what both owe to the same patient cancels
  by_risk <- concordance(Surv(month, event) ~ risk, d, reverse = TRUE, influence = 1)
  by_age <- concordance(Surv(month, event) ~ age, d, reverse = TRUE, influence = 1)
  keep(name, "harrell_difference", by_risk$concordance - by_age$concordance)
  keep(name, "harrell_difference_error", sqrt(sum((by_risk$dfbeta - by_age$dfbeta)^2)))
  # Uno's weights; R's S/G weights differ, n/G2 is Uno's
  keep(name, "uno", concordance(Surv(month, event) ~ risk, d, reverse = TRUE, timewt = "n/G2")$concordance)
}
write.csv(values, "survival_values.csv", row.names = FALSE)
write.csv(curves, "survival_curves.csv", row.names = FALSE)
