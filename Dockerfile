# The study in a container, from the same lock as everywhere else:
#   docker build -t muscle-radiomics . && docker run -v "$PWD/figures:/home/reader/study/figures" muscle-radiomics make study STUDY=smoke
FROM python:3.11-slim-bookworm
# bash, make, git and a C compiler with its headers; packages come from requirements.lock alone.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 reader
USER reader
# Not left to WORKDIR: Podman and Docker's older builder would make it the superuser's.
RUN mkdir /home/reader/study
WORKDIR /home/reader/study
# What the environment is built from comes first, so that a change of the study does not build it anew.
COPY --chown=reader requirements.lock pyproject.toml README.md Makefile ./
COPY --chown=reader tools ./tools
COPY --chown=reader analysis_lib ./analysis_lib
RUN make env
COPY --chown=reader . .
# A later checkout brings the same lock with a younger date; the environment, kept from an earlier build, is not old by that.
RUN touch .venv/.ready
CMD ["make"]
