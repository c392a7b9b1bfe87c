# Two commands for a fresh machine with Python 3.11+, git and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DATA ?= $(or $(AFFIL_DATA),../shared/data)
# Labelled sets with all organisations of a string, and with one label a string.
COMPLETE := cwts_nonrelated hfe_french openalex_gold_ror openalex_gold_openalex_ids ror_api_2019 s2aff_train s2aff_val
# Those whose labels are ids of ROR.
OF_ROR := $(filter-out openalex_gold_openalex_ids,$(COMPLETE))
SINGLE := crossref_publisher_train springer_2023_rest cordis ror_api_names ror_logs_train

.PHONY: demo test check format benchmark peers models clean

# A stamp a set of dependencies: nothing is installed again unless what is asked for changed.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-cpu: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[cpu]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed-cpu
	$(PIP) torch
	$(PIP) -e '.[cpu,models,training,test]'
	@touch $@

demo: $(VENV)/.installed-cpu ## Resolve the example and show what came out.
	$(BIN)/affil resolve examples/affiliations.csv --output out/demo --id-column id --count-column n_papers --overwrite
	$(BIN)/affil evaluate out/demo --gold examples/affiliations.csv --cluster-column institution --separator '|' --save
	@echo "open out/demo/report.html in a browser"

# A process a core; the tests of a file stay together, as they share what is slow to set up.
test: $(VENV)/.installed-test ## The test suite.
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

check: $(VENV)/.installed-test ## Format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-test ## Put the code into shape.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(VENV)/.installed-test ## The figures of the README and the models' cards; needs the labelled data (AFFIL_DATA).
	$(BIN)/python benchmarks/quality.py --data $(DATA) --save benchmarks/results/quality.json
	$(BIN)/python benchmarks/speed.py --data $(DATA) --save benchmarks/results/speed.json
	$(BIN)/python benchmarks/threshold.py --data $(DATA)
	$(BIN)/python benchmarks/sources.py --data $(DATA) --write docs/sources.md
	$(BIN)/python benchmarks/fine_tuning.py --data $(DATA) --output out/fine-tuning --save benchmarks/results/fine_tuning.json
	$(BIN)/python benchmarks/rescoring.py --data $(DATA) --save benchmarks/results/rescoring.json
	$(BIN)/python benchmarks/combination.py --data $(DATA) --save benchmarks/results/combination.json
	$(BIN)/affil registry import $(DATA)/registry/ror_records_partial.jsonl.gz --output out/ror.parquet
	$(BIN)/python benchmarks/linking.py --data $(DATA) --registry out/ror.parquet --fold test --at 0.55 0.85 --save benchmarks/results/linking.json
	$(BIN)/python benchmarks/linking.py --data $(DATA) --registry out/ror.parquet --fold tune --at 0.55 0.85 --save benchmarks/results/linking.json
	$(BIN)/python benchmarks/linking.py --data $(DATA) --registry out/ror.parquet --fold test --several --save benchmarks/results/linking.json
	$(BIN)/python benchmarks/linking.py --data $(DATA) --registry out/ror.parquet --fold test --institutions --save benchmarks/results/linking.json
	$(BIN)/python benchmarks/linking.py --data $(DATA) --registry out/ror.parquet --fold tune --institutions --save benchmarks/results/linking.json
	$(BIN)/python benchmarks/encoders.py --data $(DATA) --fold test --save benchmarks/results/encoders.json
	$(BIN)/python benchmarks/encoders.py --data $(DATA) --fold tune --save benchmarks/results/encoders.json
	$(BIN)/python benchmarks/cross_script.py --data $(DATA) --save benchmarks/results/cross_script.json
	$(BIN)/python benchmarks/resume.py --save benchmarks/results/resume.json
	$(BIN)/python benchmarks/table.py --write

peers: $(VENV)/.installed-test ## The figures of docs/peers.md; installs other tools into out/peers, takes hours.
	$(BIN)/python benchmarks/peers.py --data $(DATA) --write

models: $(VENV)/.installed-test ## Fit the shipped models again.
	$(BIN)/affil train encoder --labels $(DATA)/labelled/shared_clusters.tsv --registry $(DATA)/registry/ror_records_partial.jsonl.gz \
		--leave-out $(DATA)/folds.tsv --output pipeline/models/encoder
	$(BIN)/affil registry import $(DATA)/registry/ror_records_partial.jsonl.gz --output out/ror.parquet
	$(BIN)/affil train names --registry out/ror.parquet --leave-out $(DATA)/folds.tsv --output pipeline/models/names
	$(BIN)/affil train parser $(foreach set,$(COMPLETE),--labels $(DATA)/labelled/$(set).jsonl) \
		$(foreach set,$(SINGLE),--single-labels $(DATA)/labelled/$(set).jsonl) --affiliation-column string --cluster-column labels \
		--registry $(DATA)/registry/ror_records_partial.jsonl.gz --leave-out $(DATA)/folds.tsv --output pipeline/models/parser
	$(BIN)/affil train scorer --labels $(DATA)/labelled/shared_clusters.tsv --output pipeline/models/pair_scorer
	$(BIN)/affil train linker $(foreach set,$(OF_ROR),--labels $(DATA)/labelled/$(set).jsonl) \
		$(foreach set,$(SINGLE),--single-labels $(DATA)/labelled/$(set).jsonl) --affiliation-column string --cluster-column labels \
		--registry out/ror.parquet --leave-out $(DATA)/folds.tsv --output pipeline/models/linker
	$(BIN)/affil train reranker --labels $(DATA)/labelled/shared_clusters.tsv --registry $(DATA)/registry/ror_records_partial.jsonl.gz \
		--leave-out $(DATA)/folds.tsv --output pipeline/models/reranker

clean:
	rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
