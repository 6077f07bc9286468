# Reference values of R's survival and cmprsk for the parameters of the second question (subset, landmark_months,
# endpoint, risk_groups, cox), of the patients of stratos_competing.csv: Rscript make_question_reference.R, in this folder.
suppressPackageStartupMessages({library(survival); library(cmprsk)})
d <- read.csv("stratos_competing.csv")
d$months <- d$years * 12
exact <- coxph.control(eps = 1e-13, toler.chol = 1e-14, toler.inf = 1e-4, iter.max = 100)
values <- NULL
keep <- function(quantity, value) values <<- rbind(values,
  data.frame(quantity = quantity, value = sprintf("%.17g", as.numeric(value))))
ratio <- function(name, fit) {
  s <- summary(fit)
  keep(paste0(name, "_hr"), s$conf.int[1, 1]); keep(paste0(name, "_low"), s$conf.int[1, 3])
  keep(paste0(name, "_high"), s$conf.int[1, 4]); keep(paste0(name, "_p"), s$coefficients[1, ncol(s$coefficients)])
  keep(paste0(name, "_n"), fit$n); keep(paste0(name, "_events"), fit$nevent)
}
# subset: {age: {at_least: 75}} and landmark_months: 12, of the first event of either cause
part <- subset(d, age >= 75)
ratio("subset", coxph(Surv(months, cause > 0) ~ nodes, part, control = exact))
ratio("landmark", coxph(Surv(months - 12, cause > 0) ~ nodes, d, subset = months > 12, control = exact))
late <- summary(survfit(Surv(months - 12, cause > 0) ~ 1, d, subset = months > 12), times = 36)
keep("landmark_survival_36", late$surv)
# endpoint: recurrence, which death takes away: the cause-specific hazard
ratio("recurrence", coxph(Surv(months, cause == 1) ~ nodes, d, control = exact))
# cox: strata, delayed entry, weights; the robust variance where patients are weighted
d$id <- seq_len(nrow(d)); d$entry <- pmax(0, pmin(d$months - 0.5, (d$age - 65) / 2)); d$weight <- ifelse(d$receptor == 1, 0.5, 1.5)
own <- function(fit, name, variance) {
  b <- coef(fit)[1]; se <- sqrt(variance[1, 1])
  keep(paste0(name, "_hr"), exp(b)); keep(paste0(name, "_low"), exp(b - qnorm(0.975) * se))
  keep(paste0(name, "_high"), exp(b + qnorm(0.975) * se)); keep(paste0(name, "_p"), 2 * pnorm(-abs(b / se)))
}
fit <- coxph(Surv(months, cause > 0) ~ nodes + strata(cohort), d, control = exact); own(fit, "strata", fit$var)
fit <- coxph(Surv(entry, months, cause > 0) ~ nodes, d, control = exact); own(fit, "entry", fit$var)
fit <- coxph(Surv(months, cause > 0) ~ nodes, d, weights = weight, cluster = seq_along(weight), control = exact)
own(fit, "weights", fit$var)
fit <- coxph(Surv(entry, months, cause > 0) ~ nodes + age + strata(cohort), d, weights = weight,
             cluster = seq_along(weight), control = exact)
own(fit, "all", fit$var)
# cox: curves, numbers at risk and medians with delayed entry and weights; the log-rank test with strata by survdiff, with
# delayed entry as the score test of coxph, which is the same where no deaths share a time, with weights as the robust one
late <- list(entry = survfit(Surv(entry, months, cause > 0) ~ 1, d, conf.type = "log-log"),
             weights = survfit(Surv(months, cause > 0) ~ 1, d, weights = weight, conf.type = "log-log"),
             all = survfit(Surv(entry, months, cause > 0) ~ 1, d, weights = weight, conf.type = "log-log"))
for (name in names(late)) for (k in c(1, 100, 300)) {
  f <- late[[name]]; m <- f$time[f$n.event > 0][k]
  s <- summary(f, times = m)
  for (what in c("time", "surv", "lower", "upper", "n.risk")) keep(paste0("km_", name, "_", k, "_", what), s[[what]])
}
# medians of the oldest with nodes, whose curve falls to one half
old <- subset(d, age >= 80 & nodes == 1)
median_of <- function(name, f) { q <- quantile(f, 0.5)
  keep(paste0("median_", name), q$quantile); keep(paste0("median_", name, "_low"), q$lower); keep(paste0("median_", name, "_high"), q$upper) }
median_of("entry", survfit(Surv(entry, months, cause > 0) ~ 1, old, conf.type = "log-log"))
median_of("weights", survfit(Surv(months, cause > 0) ~ 1, old, weights = weight, conf.type = "log-log"))
median_of("all", survfit(Surv(entry, months, cause > 0) ~ 1, old, weights = weight, conf.type = "log-log"))
median_of("follow_up", survfit(Surv(entry, months, cause == 0) ~ 1, d, weights = weight, conf.type = "log-log"))
keep("logrank_strata", pchisq(survdiff(Surv(months, cause > 0) ~ nodes + strata(cohort), d)$chisq, 1, lower.tail = FALSE))
keep("logrank_entry", summary(coxph(Surv(entry, months + id / 1e6, cause > 0) ~ nodes, d, control = exact))$sctest["pvalue"])
robust <- function(f) pchisq(f$rscore, length(coef(f)), lower.tail = FALSE)
keep("logrank_weights", robust(coxph(Surv(months, cause > 0) ~ nodes, d, weights = weight, cluster = id, control = exact)))
keep("logrank_all", robust(coxph(Surv(entry, months, cause > 0) ~ nodes + strata(cohort), d, weights = weight, cluster = id,
                                control = exact)))
d$third <- factor((d$age >= 72) + (d$age >= 77))
keep("logrank_three", robust(coxph(Surv(entry, months, cause > 0) ~ third, d, weights = weight, cluster = id,
                                  control = exact)))
keep("logrank_three_strata", pchisq(survdiff(Surv(months, cause > 0) ~ third + strata(cohort), d)$chisq, nlevels(d$third) - 1,
                                    lower.tail = FALSE))
# competing events: Fine and Gray, Gray's test; years rounded up are full of ties
d$ties <- ceiling(d$years)
for (time in c("months", "ties")) for (of in 1:2) {
  d$t <- d[[time]]
  long <- finegray(Surv(t, factor(cause, 0:2)) ~ ., d, etype = as.character(of))
  fit <- coxph(Surv(fgstart, fgstop, fgstatus) ~ nodes + cluster(id), long, weights = fgwt, control = exact)
  own(fit, paste0("fine_gray_", time, "_", of), fit$var)
  keep(paste0("crr_", time, "_", of, "_hr"), exp(crr(d$t, d$cause, d$nodes, failcode = of)$coef))
  test <- cuminc(d$t, d$cause, d$nodes)$Tests
  keep(paste0("gray_", time, "_", of, "_chisq"), test[of, "stat"]); keep(paste0("gray_", time, "_", of, "_p"), test[of, "pv"])
}
# risk_groups: tertiles (of age here), against the lowest; adjusted for nodes; proportional hazards; restricted means to 60
cuts <- quantile(d$age, c(1, 2) / 3); d$group <- factor((d$age > cuts[1]) + (d$age > cuts[2]))
fit <- coxph(Surv(months, cause > 0) ~ group, d, control = exact)
both <- coxph(Surv(months, cause > 0) ~ nodes + group, d, control = exact)
for (k in 1:2) {
  keep(paste0("group_", k, "_hr"), exp(coef(fit)[k])); keep(paste0("group_", k, "_p"), summary(fit)$coefficients[k, 5])
  keep(paste0("group_", k, "_adjusted_hr"), exp(coef(both)[k + 1]))
  keep(paste0("group_", k, "_n"), sum(d$group == k))
  area <- function(part) { s <- summary(survfit(Surv(months, cause > 0) ~ 1, part), rmean = 60)$table; s["rmean"] }
  keep(paste0("group_", k, "_rmst"), area(d[d$group == k, ]) - area(d[d$group == 0, ]))
}
keep("group_zph", cox.zph(fit, transform = "km", terms = FALSE)$table["GLOBAL", "p"])
keep("group_logrank", pchisq(survdiff(Surv(months, cause > 0) ~ group, d)$chisq, 2, lower.tail = FALSE))
write.csv(values, "question_values.csv", row.names = FALSE)
