# Oracles: programs that others wrote load what grokpack writes. Each has an environment of its own in
# build/, made from pinned requirements; what it proves is in its README.

# FOLDERS="OUT ..." checks folders converted from tests/data/tiny3 instead of those it makes itself.
HF := $(BUILD)/oracle-hf
HF_CHECK := tests.oracle.hf.check
FOLDERS ?=
.PHONY: oracle-hf
oracle-hf: $(HF)/4/.ready $(HF)/5/.ready $(VENV)/.ready-run ## Compare the Hugging Face code with xAI's logits
	@rm -rf $(HF)/shared
	@$(BIN)/python -m grokpack synth $(HF)/shared --quiet --layers 2 --d-model 96 --ffn 256 \
		--experts 4 --vocab 300 --heads 12 --kv-heads 4 --head-dim 32
	$(HF)/5/bin/python -m tests.oracle.forward tests/data/tiny3
	@for env in 5 4; do \
		run() { HF_HOME=$(CURDIR)/$(HF)/home HF_HUB_OFFLINE=1 $(HF)/$$env/bin/python -m $(HF_CHECK) "$$@"; }; \
		if [ -n "$(FOLDERS)" ]; then run $(FOLDERS:%=--folder %) || exit 1; \
		else run && run --source $(HF)/shared || exit 1; fi; done

$(HF)/%/.ready: tests/oracle/hf/requirements-%.txt $(VENV)/.made
	@echo "making an environment of transformers $*"
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore -r $<
	@touch $@

# FOLDERS="OUT ..." checks folders quantised from SOURCE instead of those it makes itself.
CT := $(BUILD)/oracle-ct
SOURCE ?= tests/data/tiny3
.PHONY: oracle-ct
oracle-ct: $(CT)/4/.ready $(CT)/5/.ready $(VENV)/.ready-run ## Compare packed weights with compressed-tensors and GPTQModel
	@rm -rf $(CT)/work
	@for env in 4 5; do \
		TQDM_DISABLE=1 HF_HOME=$(CURDIR)/$(CT)/home HF_HUB_OFFLINE=1 $(CT)/$$env/bin/python \
		-m tests.oracle.ct.check --python "$(CURDIR)/$(BIN)/python" --work $(CT)/work \
		--source $(SOURCE) $(FOLDERS:%=--folder %) || exit 1; done

$(CT)/%/.ready: tests/oracle/ct/requirements-%.txt tests/oracle/ct/gptq.txt $(VENV)/.made
	@echo "making an environment of compressed-tensors for transformers $*"
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore -r $<
	@test $* = 4 || $(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore --no-deps -r tests/oracle/ct/gptq.txt
	@touch $@

# xAI's code is not in this repository: name a clone of github.com/xai-org/grok-1.
XAI ?=
ORACLE_JAX := $(BUILD)/oracle-jax
ORACLE_JAX_PYTHON ?= python3.11

.PHONY: .xai
.xai:
	@test -f "$(XAI)/model.py" || { echo "oracle-jax needs xAI's code:" \
		"git clone https://github.com/xai-org/grok-1, then make oracle-jax XAI=/path/to/grok-1" >&2; \
		exit 2; }

.PHONY: oracle-jax
oracle-jax: .xai $(VENV)/.ready-run ## Let xAI's own JAX code load outputs: make oracle-jax XAI=/path/to/grok-1
	@$(MAKE) --no-print-directory $(ORACLE_JAX)/.ready
	$(BIN)/python tests/oracle/jax/check.py --xai "$(abspath $(XAI))" \
		--python "$(CURDIR)/$(ORACLE_JAX)/env/bin/python" --newer "$(CURDIR)/$(ORACLE_JAX)/newer" \
		--work "$(CURDIR)/$(ORACLE_JAX)/work"

$(ORACLE_JAX)/.ready: tests/oracle/jax/requirements.txt tests/oracle/jax/newer.txt
	@command -v "$(ORACLE_JAX_PYTHON)" >/dev/null || { echo "oracle-jax needs Python 3.11 for jaxlib" \
		"of March 2024; name it: ORACLE_JAX_PYTHON=..." >&2; exit 1; }
	@rm -rf $(ORACLE_JAX)
	@mkdir -p $(ORACLE_JAX)
	@echo "making $(ORACLE_JAX)/env with jax of March 2024"
	@"$(ORACLE_JAX_PYTHON)" -m venv $(ORACLE_JAX)/env
	@$(ORACLE_JAX)/env/bin/pip install -qq --disable-pip-version-check \
		-r tests/oracle/jax/requirements.txt
	@$(ORACLE_JAX)/env/bin/pip install -qq --disable-pip-version-check --no-deps \
		--target $(ORACLE_JAX)/newer -r tests/oracle/jax/newer.txt
	@touch $@
