#!/usr/bin/env Rscript
# The same contract in R, with jsonlite.
library(jsonlite)
known <- scan("words.txt", "", quiet = TRUE)   # loaded once
say <- function(...) { cat(toJSON(list(...), auto_unbox = TRUE), "\n", sep = ""); flush(stdout()) }
say(ready = TRUE)
stdin <- file("stdin", "r")
while (length(line <- readLines(stdin, 1)) > 0) {
  job <- fromJSON(line)
  setwd(job$scratch)
  done <- tryCatch({
    words <- strsplit(tolower(paste(readLines(job$input), collapse = " ")), "[^a-z]+")[[1]]
    made <- paste0(tools::file_path_sans_ext(basename(job$input)), ".count")
    writeLines(as.character(sum(words %in% known)), made)
    cat(made, "\n", sep = "")
    TRUE
  }, error = function(error) { message(conditionMessage(error)); FALSE })
  if (done) say(job = job$job, done = TRUE) else say(job = job$job, failed = 1L)
}
