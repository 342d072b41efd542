# SPDX-License-Identifier: GPL-3.0-or-later
# `make` lists what there is to make.

SWIFT ?= swift
# STRICT=1 makes every warning in the sources or tests an error; `make check` sets it.
FLAGS = $(if $(STRICT),-Xswiftc -warnings-as-errors)
SOURCES := Package.swift Sources Tests Benchmarks

.PHONY: help demo test check build dependencies format lint ranks plans guides accuracy check-lp test-real differential failures check-report check-export command-line static check-static install bench-torch bench-solve bench-known bench-search validate-local clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\): *[a-z -]*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: build  ## install what is missing, build, then calibrate two ranks, and search, inspect and run GPT-2 on them
	scripts/demo

test: dependencies  ## all tests
	$(SWIFT) build --build-tests $(FLAGS)
	scripts/run-tests $(FLAGS)

check: STRICT := 1
check: lint ranks plans command-line guides test  ## format lint, plans on 1, 2, 4 and 8 ranks, those in plans/ again, the command line, the guides' commands, all tests without warnings

build: dependencies  ## the release build, .build/release/tpplan
	$(SWIFT) build --configuration release --product tpplan

static:  ## build/static/tpplan: every verb but run and calibrate, in one file that needs no shared library
	scripts/build-static

# For example `make install PROGRAM=build/static/tpplan PREFIX=~/.local`.
PROGRAM ?= .build/release/tpplan
install:  ## put the program that was built under PREFIX=/usr/local, with its completions, manual, models and hardware
	DESTDIR="$(DESTDIR)" PREFIX="$(or $(PREFIX),/usr/local)" scripts/install "$(PROGRAM)"

dependencies:  ## GLPK, zlib, OpenBLAS, Open MPI and pkg-config, through apt-get where missing
	@scripts/install-dependencies

format:  ## rewrite the sources in the project's format
	$(SWIFT) format --in-place --parallel --recursive --configuration .swift-format $(SOURCES)

lint: dependencies  ## fail where `make format` would change something
	$(SWIFT) format lint --strict --parallel --recursive --configuration .swift-format $(SOURCES)

ranks: build  ## search and run small models on 1, 2, 4 and 8 ranks, each verified against one rank
	scripts/check-ranks 1 2 4 8

plans: build  ## search the plans in plans/ again and compare byte for byte (TPPLAN_RECORD=1 writes them)
	scripts/check-plans

command-line: build  ## examples in the help, completions, Documentation/command-line.md and the manual as they should be (TPPLAN_RECORD=1 writes the last two)
	scripts/check-command-line

check-static: static build  ## the static build in an empty root, beside the usual one
	scripts/check-static
guides: build  ## run the commands of the guides and of the tutorial, and compare what they print (TPPLAN_RECORD=1 writes it)
	scripts/check-guides

accuracy: build  ## price all measured steps, with each set left out of the fits in turn, and write Documentation/accuracy.md and its picture
	scripts/document-accuracy

check-lp: build  ## what --write-lp writes, solved by HiGHS (fetched from the package index), beside the search
	scripts/check-lp

# What is enumerated takes seconds for some seeds, so the tests are built with optimisation, in a folder of their own.
SEEDS ?= 1000
differential: dependencies  ## the search beside enumeration of the whole space on SEEDS=1000 (or SEEDS=760-770) small random models and clusters
	TPPLAN_SEEDS=$(SEEDS) $(SWIFT) test --configuration release -Xswiftc -enable-testing --scratch-path .build/differential \
	  --filter 'searchFindsTheCheapestDecisionOfTheWholeSpace|searchFindsTheCheapestShares'

test-real: dependencies  ## sentence embeddings of a published BERT on 1, 2 and 4 ranks, against PyTorch's
	$(SWIFT) build --build-tests $(FLAGS)
	scripts/check-real-model $(FLAGS)

failures: build  ## trainings that are killed, interrupted, out of memory, disk or reach: each ends cleanly and goes on (KILLS=20, SEED=1)
	scripts/check-failures --kills $(or $(KILLS),20) --seed $(or $(SEED),1)

check-report: build  ## pages that `tpplan report` writes, opened in headless Chromium; pictures of them go to build/report
	scripts/check-report

check-export: build  ## plans exported as PyTorch scripts, run under torchrun: five training losses beside those of `tpplan run`
	scripts/check-export

bench-torch: build  ## steps of three models under five splits beside PyTorch's own parallelism (Benchmarks/peers/results.md)
	scripts/bench-torch

bench-known: build  ## published splits beside the optimum that a search finds
	python3 Benchmarks/known-plans/known_plans.py .build/release/tpplan

bench-search: build  ## time, memory and gap of searches over the whole space
	python3 Benchmarks/search/search.py .build/release/tpplan

validate-local: build  ## predicted beside measured on this machine: calibrated, three models, 1 and 2 ranks (Benchmarks/local/results.md)
	scripts/validate-local

bench-solve: build  ## six real sharding problems (../shared/iopddl or IOPDDL=DIR) beside the contest's best costs
	scripts/bench-solve

clean:  ## remove everything that was built
	rm -rf .build build
