# Makes the reference values of test_deepsurv.py with R's survival package. From the project folder:
#   Rscript tests/reference/coxph.R tests/reference
# Writes coxph_data.csv (heavily tied times, two centres), coxph_fit.csv (coefficients, log-likelihoods) and
# coxph_basehaz.csv (Breslow cumulative baseline hazard at covariates 0).
suppressPackageStartupMessages(library(survival))
folder <- commandArgs(trailingOnly = TRUE)[1]
set.seed(1)
n <- 120
data <- data.frame(x1 = rnorm(n), x2 = rbinom(n, 1, 0.4), x3 = rexp(n), centre = rep(c("A", "B", "C"), length.out = n))
death <- rexp(n, exp(0.8 * data$x1 - 0.5 * data$x2 + 0.2 * data$x3) / 20)
censored <- runif(n, 5, 40)
data$time <- floor(pmin(death, censored) / 2) * 2 # ties, and events at time zero
data$event <- as.integer(death <= censored)
data[, c("x1", "x3")] <- round(data[, c("x1", "x3")], 6)
write.csv(data, file.path(folder, "coxph_data.csv"), row.names = FALSE)
control <- coxph.control(eps = 1e-11, iter.max = 100)
fits <- NULL
hazards <- NULL
for (ties in c("efron", "breslow")) {
  for (stratified in c(FALSE, TRUE)) {
    formula <- Surv(time, event) ~ x1 + x2 + x3
    if (stratified) formula <- update(formula, . ~ . + strata(centre))
    fit <- coxph(formula, data, ties = ties, control = control)
    fits <- rbind(fits, data.frame(ties = ties, stratified = stratified, x1 = coef(fit)[["x1"]], x2 = coef(fit)[["x2"]],
                                   x3 = coef(fit)[["x3"]], loglik_zero = fit$loglik[1], loglik = fit$loglik[2],
                                   r_version = as.character(getRversion()),
                                   survival_version = as.character(packageVersion("survival"))))
    if (ties == "breslow" && !stratified) hazards <- basehaz(fit, centered = FALSE)
  }
}
number <- function(x) if (is.numeric(x)) sprintf("%.12g", x) else x
fits[] <- lapply(fits, number)
write.csv(fits, file.path(folder, "coxph_fit.csv"), row.names = FALSE, quote = FALSE)
write.csv(lapply(hazards[, c("time", "hazard")], number), file.path(folder, "coxph_basehaz.csv"), row.names = FALSE, quote = FALSE)
