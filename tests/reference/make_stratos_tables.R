# The data of the STRATOS examples of prediction-model validation, as their scripts prepare them:
# Rscript make_stratos_tables.R FOLDER, in this folder; FOLDER is Data of github.com/survival-lumc/ValidationCompRisks.
# Writes stratos_breast.csv (rotterdam and gbsg of R's survival) and stratos_competing.csv (rdata and vdata).
library(survival)
r <- rotterdam
# the 43 who died after a last contact without recurrence
late <- r$recur == 0 & r$death == 1 & r$rtime < r$dtime
days <- ifelse(late, r$dtime, r$rtime)
breast <- rbind(
  data.frame(cohort = "rotterdam", days = round(days, 3), event = pmax(r$recur, r$death), size = as.integer(r$size) - 1,
             grade3 = as.integer(r$grade == 3), nodes = r$nodes, pgr = r$pgr),
  data.frame(cohort = "gbsg", days = gbsg$rfstime, event = gbsg$status,
             size = findInterval(gbsg$size, c(20, 50), left.open = TRUE),
             grade3 = as.integer(gbsg$grade == 3), nodes = gbsg$nodes, pgr = gbsg$pgr))
stopifnot(length(unique(days)) == length(unique(round(days, 3))))
write.csv(breast, "stratos_breast.csv", row.names = FALSE, quote = FALSE)
folder <- commandArgs(TRUE)[1]
competing <- do.call(rbind, lapply(c("rdata", "vdata"), function(name) {
  d <- readRDS(file.path(folder, paste0(name, ".rds")))
  stopifnot(length(unique(d$time)) == length(unique(round(d$time, 5))))
  data.frame(cohort = name, years = round(d$time, 5), cause = d$status_num, age = d$age, size = d$size,
             nodes = as.integer(d$ncat == "positive"), receptor = as.integer(d$hr_status == "ER-/PR-"))
}))
write.csv(competing, "stratos_competing.csv", row.names = FALSE, quote = FALSE)
