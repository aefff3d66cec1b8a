# Oracles: programs that others wrote load what grokpack writes. Each has an environment of its own in
# build/, made from pinned requirements; what it proves is in its README.

# What torch does with the small matrices here: on a busy machine its threads wait for one another,
# and then take ten times as long as one.
TORCH := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

# Two releases of transformers with what reads packed weights. Without torch's thousands of modules
# compiled ahead of time an environment is made in half the time.
MODELS := $(BUILD)/oracle-transformers
$(MODELS)/%/.ready: tests/oracle/ct/requirements-%.txt tests/oracle/ct/gptq.txt $(VENV)/.made
	@echo "making an environment of transformers $*"
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install --no-compile \
		--root-user-action=ignore -r $<
	@test $* = 4 || $(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--no-compile --root-user-action=ignore --no-deps -r tests/oracle/ct/gptq.txt
	@touch $@

# FOLDERS="OUT ..." checks folders converted from tests/data/tiny3 instead of those it makes itself.
HF := $(BUILD)/oracle-hf
HF_CHECK := tests.oracle.hf.check
HF_GOLDEN := $(foreach names,hpcai sglang keyfan,$(names)-f32 $(names)-bf16) hpcai-f16
HF_SHARED := hpcai-f32 sglang-bf16
FOLDERS ?=
.PHONY: oracle-hf
oracle-hf: $(MODELS)/4/.ready $(MODELS)/5/.ready $(VENV)/.ready-run ## Compare the Hugging Face code with xAI's logits
	@rm -rf $(HF)/shared $(HF)/made
	@$(BIN)/python -m grokpack synth $(HF)/shared --quiet --layers 2 --d-model 96 --ffn 256 \
		--experts 4 --vocab 300 --heads 12 --kv-heads 4 --head-dim 32
	@convert() { $(BIN)/python -m grokpack convert $$1 --quiet --to hf --names $${2%-*} \
		--dtype $${2#*-} --shard-size 4MB -o $(HF)/made/$${1##*/}/$$2 >/dev/null; }; \
		for kind in $(HF_GOLDEN); do convert tests/data/tiny3 $$kind || exit 1; done; \
		for kind in $(HF_SHARED); do convert $(HF)/shared $$kind || exit 1; done
	@$(BIN)/python -m grokpack convert tests/data/grok2-tiny/release --quiet --to hf \
		-o $(HF)/made/grok-2 >/dev/null
	$(MODELS)/5/bin/python -m tests.oracle.forward tests/data/tiny3
	@for env in 5 4; do $(MODELS)/$$env/bin/python -m tests.oracle.hf.tokenizer $(HF)/made/grok-2 \
		|| exit 1; done
	@for env in 5 4; do \
		run() { $(TORCH) HF_HOME=$(CURDIR)/$(HF)/home $(MODELS)/$$env/bin/python -m $(HF_CHECK) "$$@"; }; \
		if [ -n "$(FOLDERS)" ]; then run $(FOLDERS:%=--folder %) || exit 1; \
		else run $(HF_GOLDEN:%=--folder $(HF)/made/tiny3/%) && run && \
		run --source $(HF)/shared $(HF_SHARED:%=--folder $(HF)/made/shared/%) && \
		run --source $(HF)/shared || exit 1; fi; done
	@echo "oracle-hf: transformers 4 and 5 compute xAI's logits from $(or $(FOLDERS),every folder)"

# llama.cpp comes inside the source distribution of its Python bindings.
LLAMA_CPP := $(BUILD)/llama.cpp
$(LLAMA_CPP)/.ready: tests/oracle/ggml/requirements.txt $(VENV)/.made
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@echo "fetching the sources of $$(cat $<)"
	@$(BIN)/python -m pip -qq --disable-pip-version-check --no-input download --no-deps \
		--no-binary :all: --dest $(@D) -r $<
	@tar xzf $(@D)/*.tar.gz -C $(@D) --strip-components=1
	@rm $(@D)/*.tar.gz
	@touch $@

# llama.cpp is compiled, without AMX: see tests/oracle/llama/cmake_flags.py.
TOKENIZER ?=
ORACLE_LLAMA := $(BUILD)/oracle-llama
LLAMA_BIN := $(CURDIR)/$(ORACLE_LLAMA)/llama.cpp/bin
RUN_LLAMA := LLAMA_CPP_LIB_PATH=$(LLAMA_BIN) $(ORACLE_LLAMA)/env/bin/python
.PHONY: oracle-llama
oracle-llama: $(ORACLE_LLAMA)/env/.ready $(ORACLE_LLAMA)/llama.cpp/.ready $(VENV)/.ready-test ## Let llama.cpp load GGUF files: make oracle-llama TOKENIZER=/path/to/tokenizer.model
	@test -z "$(TOKENIZER)" || test -f "$(TOKENIZER)" || { \
		echo "oracle-llama: no file $(TOKENIZER)" >&2; exit 2; }
	$(ORACLE_LLAMA)/env/bin/python -m tests.oracle.forward tests/data/tiny3
	$(ORACLE_LLAMA)/env/bin/python -m tests.oracle.forward_grok2 tests/data/grok2-tiny
	$(RUN_LLAMA) -m tests.oracle.llama.check --grokpack $(BIN)/python \
		--quantize $(LLAMA_BIN)/llama-quantize --work $(ORACLE_LLAMA)/work \
		$(if $(TOKENIZER),--tokenizer "$(TOKENIZER)")
	@echo "oracle-llama: llama.cpp computes both models' logits, and llama-quantize makes the same tensors"

# Of the program's own sources only those that it uses are compiled, not the forty others beside them.
QUANTIZE_SOURCES := $(patsubst %,$(LLAMA_CPP)/vendor/llama.cpp/%.cpp,tools/quantize/main \
	tools/quantize/quantize common/common common/imatrix-loader common/json common/log)
$(ORACLE_LLAMA)/llama.cpp/.ready: tests/oracle/llama/cmake_flags.py $(LLAMA_CPP)/.ready
	@for tool in cmake "$(CXX)"; do command -v "$$tool" >/dev/null || { \
		echo "oracle-llama compiles llama.cpp, and there is no $$tool: install cmake and a C++17" \
		"compiler (Debian and Ubuntu: apt install cmake g++)" >&2; exit 1; }; done
	@mkdir -p $(@D)
	@echo "compiling llama.cpp and llama-quantize: about 8 minutes on two cores"
	@{ cmake -S $(LLAMA_CPP)/vendor/llama.cpp -B $(@D) $$("$(PYTHON)" $<) && \
		cmake --build $(@D) --parallel 2 --target llama && \
		$(CXX) -std=c++17 -O1 -DNDEBUG -ffunction-sections -fdata-sections -Wl,--gc-sections \
		$(patsubst %,-I$(LLAMA_CPP)/vendor/llama.cpp/%,common include ggml/include vendor) \
		-o $(LLAMA_BIN)/llama-quantize $(QUANTIZE_SOURCES) $(@D)/common/build-info.cpp \
		-L$(LLAMA_BIN) -lllama -lggml -lggml-base -Wl,-rpath,$(LLAMA_BIN); } \
		>$(@D)/log.txt 2>&1 || { tail -20 $(@D)/log.txt >&2; exit 1; }
	@touch $@

$(ORACLE_LLAMA)/env/.ready: tests/oracle/llama/requirements.txt $(LLAMA_CPP)/.ready
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)
	@CMAKE_ARGS="-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF" $(@D)/bin/python -m pip -qq \
		--disable-pip-version-check --no-input install --root-user-action=ignore \
		-r $< ./$(LLAMA_CPP)
	@touch $@

# FOLDERS="OUT ..." checks folders quantized from SOURCE instead of those it makes itself.
CT := $(BUILD)/oracle-ct
SOURCE ?= tests/data/tiny3
.PHONY: oracle-ct
oracle-ct: $(MODELS)/4/.ready $(MODELS)/5/.ready $(VENV)/.ready-run ## Compare packed weights with compressed-tensors and GPTQModel
	@rm -rf $(CT)/work
	@for env in 4 5; do \
		$(TORCH) TQDM_DISABLE=1 HF_HOME=$(CURDIR)/$(CT)/home $(MODELS)/$$env/bin/python \
		-m tests.oracle.ct.check --python "$(CURDIR)/$(BIN)/python" --work $(CT)/work \
		--source $(SOURCE) $(FOLDERS:%=--folder %) || exit 1; done
	@echo "oracle-ct: compressed-tensors, transformers and GPTQModel read what grokpack packs, and vice versa"

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
	$(BIN)/python -m tests.oracle.jax.check --xai "$(abspath $(XAI))" \
		--python "$(CURDIR)/$(ORACLE_JAX)/env/bin/python" --newer "$(CURDIR)/$(ORACLE_JAX)/newer" \
		--work "$(CURDIR)/$(ORACLE_JAX)/work"
	@echo "oracle-jax: xAI's own code loads every checkpoint and computes the logits"

$(ORACLE_JAX)/.ready: tests/oracle/jax/requirements.txt tests/oracle/jax/newer.txt
	@command -v "$(ORACLE_JAX_PYTHON)" >/dev/null || { echo "oracle-jax needs Python 3.11 for jaxlib" \
		"of March 2024; name it: ORACLE_JAX_PYTHON=..." >&2; exit 1; }
	@rm -rf $(ORACLE_JAX)
	@mkdir -p $(ORACLE_JAX)
	@echo "making $(ORACLE_JAX)/env with jax of March 2024"
	@"$(ORACLE_JAX_PYTHON)" -m venv $(ORACLE_JAX)/env
	@$(ORACLE_JAX)/env/bin/pip install -qq --disable-pip-version-check --no-compile \
		-r tests/oracle/jax/requirements.txt
	@$(ORACLE_JAX)/env/bin/pip install -qq --disable-pip-version-check --no-compile --no-deps \
		--target $(ORACLE_JAX)/newer -r tests/oracle/jax/newer.txt
	@touch $@

# Of ggml's sources one file is compiled.
GGML := $(BUILD)/oracle-ggml
GGML_SOURCES := $(LLAMA_CPP)/vendor/llama.cpp/ggml
.PHONY: oracle-ggml
oracle-ggml: $(GGML)/libquants.so $(VENV)/.ready-test ## Compare GGUF blocks, bit for bit, with ggml's C code
	$(BIN)/python -m tests.oracle.ggml.check --library $<
	@echo "oracle-ggml: ggml's C code makes and reads the same blocks, bit for bit"

.PHONY: oracle-ggml-fixture
oracle-ggml-fixture: $(GGML)/libquants.so $(VENV)/.ready-test
	$(BIN)/python -m tests.oracle.ggml.check --library $< --fixture tests/data/ggml/q4_k.npz

$(GGML)/libquants.so: tests/oracle/ggml/row_size.c $(LLAMA_CPP)/.ready
	@command -v cc >/dev/null || { echo "oracle-ggml needs a C compiler" >&2; exit 2; }
	@mkdir -p $(@D)
	@cc -O2 -ffp-contract=off -DNDEBUG -fPIC -shared -Wl,-z,lazy -o $@ -I$(GGML_SOURCES)/include \
		-I$(GGML_SOURCES)/src -I$(GGML_SOURCES)/src/ggml-cpu $(GGML_SOURCES)/src/ggml-quants.c $< -lm

ORACLE_VLLM := $(BUILD)/oracle-vllm
RUN_VLLM := $(TORCH) HF_HOME=$(CURDIR)/$(ORACLE_VLLM)/home VLLM_NO_USAGE_STATS=1 \
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind $(ORACLE_VLLM)/env/bin/python
.PHONY: oracle-vllm
oracle-vllm: $(ORACLE_VLLM)/.ready $(VENV)/.ready-run ## Compare vLLM 0.24 on CPU with both models' networks
	@rm -rf $(ORACLE_VLLM)/made
	@$(BIN)/python -m grokpack synth $(ORACLE_VLLM)/made/source --quiet --layers 3 --d-model 512 \
		--ffn 1024 --experts 8 --vocab 1024 --heads 4 --kv-heads 2 --head-dim 128
	@for dtype in f32 bf16; do $(BIN)/python -m grokpack convert $(ORACLE_VLLM)/made/source --quiet \
		--to hf --names hpcai --dtype $$dtype -o $(ORACLE_VLLM)/made/$$dtype || exit 1; done
	$(RUN_VLLM) -m tests.oracle.vllm.check \
		$(ORACLE_VLLM)/made/source $(ORACLE_VLLM)/made/f32 $(ORACLE_VLLM)/made/bf16
	$(RUN_VLLM) -m tests.oracle.vllm.quantized $(ORACLE_VLLM)/made/source \
		--python "$(CURDIR)/$(BIN)/python" --work $(ORACLE_VLLM)/made/quantized
	$(RUN_VLLM) -m tests.oracle.vllm.floats \
		--python "$(CURDIR)/$(BIN)/python" --work $(ORACLE_VLLM)/made/floats
	$(RUN_VLLM) -m tests.oracle.forward_grok2 tests/data/grok2-tiny
	$(RUN_VLLM) -m tests.oracle.vllm.grok2_merged \
		--python "$(CURDIR)/$(BIN)/python" --work $(ORACLE_VLLM)/made/grok-2
	@echo "oracle-vllm: vLLM loads every folder and computes both models' logits"

$(ORACLE_VLLM)/.ready: tests/oracle/vllm/requirements.txt tests/oracle/vllm/vllm.txt $(VENV)/.made
	@echo "making $(ORACLE_VLLM)/env with vLLM 0.24 for CPU"
	@rm -rf $(ORACLE_VLLM)
	@"$(PYTHON)" -m venv $(ORACLE_VLLM)/env
	@$(ORACLE_VLLM)/env/bin/pip install -qq --disable-pip-version-check --no-compile \
		-r tests/oracle/vllm/requirements.txt
	@$(ORACLE_VLLM)/env/bin/pip install -qq --disable-pip-version-check --no-compile --no-deps \
		-r tests/oracle/vllm/vllm.txt
	@touch $@

ORACLE_SGLANG := $(BUILD)/oracle-sglang
.PHONY: oracle-sglang
oracle-sglang: $(ORACLE_SGLANG)/.ready $(VENV)/.ready-run ## Let SGLang load what is written for it, on every rank
	$(TORCH) HF_HOME=$(CURDIR)/$(ORACLE_SGLANG)/home \
		$(ORACLE_SGLANG)/env/bin/python -m tests.oracle.sglang.check \
		--grokpack $(CURDIR)/$(BIN)/python --work $(ORACLE_SGLANG)/work
	@echo "oracle-sglang: SGLang loads every parameter on every rank and computes both models' logits"

$(ORACLE_SGLANG)/.ready: tests/oracle/sglang/requirements.txt tests/oracle/sglang/sglang.txt \
		$(VENV)/.made
	@echo "making $(ORACLE_SGLANG)/env with SGLang"
	@rm -rf $(ORACLE_SGLANG)
	@"$(PYTHON)" -m venv $(ORACLE_SGLANG)/env
	@$(ORACLE_SGLANG)/env/bin/pip install -qq --disable-pip-version-check --no-compile \
		-r tests/oracle/sglang/requirements.txt
	@$(ORACLE_SGLANG)/env/bin/pip install -qq --disable-pip-version-check --no-compile --no-deps \
		-r tests/oracle/sglang/sglang.txt
	@touch $@

# Stores of chunked arrays: opened, restored and written by the libraries that they are for.
ZARR := $(BUILD)/oracle-zarr
.PHONY: oracle-zarr
oracle-zarr: $(ZARR)/.ready $(VENV)/.ready-test ## Let TensorStore and zarr-python open what is written, and write what is read
	@rm -rf $(ZARR)/wide
	@$(BIN)/python -m grokpack synth $(ZARR)/wide --quiet --layers 2 --d-model 96 --ffn 200 \
		--experts 3 --vocab 331 --heads 4 --kv-heads 2 --head-dim 24 --scale-groups 4
	$(ZARR)/env/bin/python -m tests.oracle.zarr.check --grokpack $(CURDIR)/$(BIN)/python \
		--work $(ZARR)/work --release tests/data/grok2-tiny/release tests/data/tiny3 $(ZARR)/wide
	@echo "oracle-zarr: TensorStore and zarr-python read what grokpack writes, and vice versa"

ORBAX := $(BUILD)/oracle-orbax
.PHONY: oracle-orbax
oracle-orbax: $(ORBAX)/12/.ready $(ORBAX)/11/.ready $(VENV)/.ready-test ## Let Orbax restore what is written, on a mesh, and write what is read
	@rm -rf $(ORBAX)/small
	@$(BIN)/python -m grokpack synth $(ORBAX)/small --quiet --layers 2 --d-model 64 --ffn 192 \
		--experts 4 --vocab 160 --heads 8 --kv-heads 8 --head-dim 16
	@for version in 12 11; do \
		$(ORBAX)/$$version/env/bin/python -m tests.oracle.orbax.check --work $(ORBAX)/$$version/work \
		--grokpack $(CURDIR)/$(BIN)/python tests/data/tiny3 $(ORBAX)/small || exit 1; done
	@echo "oracle-orbax: Orbax restores what grokpack writes, on a mesh, and vice versa"

.PHONY: oracle-orbax-fixture
oracle-orbax-fixture: $(ORBAX)/12/.ready $(VENV)/.ready-test
	@rm -rf $(ORBAX)/tiny
	@$(BIN)/python -m grokpack synth $(ORBAX)/tiny --quiet --layers 1 --d-model 32 --ffn 64 \
		--experts 2 --vocab 48 --heads 8 --kv-heads 8 --head-dim 8
	$(ORBAX)/12/env/bin/python -m tests.oracle.orbax.check --work $(ORBAX)/12/work \
		--grokpack $(CURDIR)/$(BIN)/python --fixture tests/data/orbax $(ORBAX)/tiny

$(ZARR)/.ready: tests/oracle/zarr/requirements.txt $(VENV)/.made
	@echo "making $(@D)/env with TensorStore and zarr-python"
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)/env
	@$(@D)/env/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore -r $<
	@touch $@

$(ORBAX)/%/.ready: tests/oracle/orbax/requirements-%.txt $(VENV)/.made
	@echo "making $(@D)/env with Orbax 0.$* and jax for CPU"
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)/env
	@$(@D)/env/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore -r $<
	@touch $@

# grokpack is not in these environments. The oldest TensorStore that opens views has no builds for
# Pythons after 3.13.
ORACLE_TS := $(BUILD)/oracle-tensorstore
ORACLE_OLD_PYTHON ?= python3.11
.PHONY: oracle-tensorstore
oracle-tensorstore: $(ORACLE_TS)/newest/.ready $(ORACLE_TS)/oldest/.ready $(VENV)/.ready-run ## Let TensorStore alone, oldest and newest, read views
	@for env in newest oldest; do $(ORACLE_TS)/$$env/bin/python -I tests/oracle/tensorstore/check.py \
		--python "$(CURDIR)/$(BIN)/python" --work $(ORACLE_TS)/work || exit 1; done
	@echo "oracle-tensorstore: TensorStore, oldest and newest, reads every view"

$(ORACLE_TS)/%/.ready: tests/oracle/tensorstore/requirements-%.txt
	@test $* = newest || command -v "$(ORACLE_OLD_PYTHON)" >/dev/null || { echo "oracle-tensorstore" \
		"needs Python 3.11 for TensorStore of 2024; name it: ORACLE_OLD_PYTHON=..." >&2; exit 1; }
	@echo "making an environment of the $* TensorStore"
	@rm -rf $(@D)
	@"$(if $(filter oldest,$*),$(ORACLE_OLD_PYTHON),$(PYTHON))" -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore -r $<
	@touch $@

# grokpack is in this environment: it is what the executors run.
EXECUTORS := $(BUILD)/oracle-executors
.PHONY: oracle-executors
oracle-executors: $(EXECUTORS)/.ready ## Let processes, Dask, MPI and Ray do grokpack's tasks
	PYTHONPATH=$(CURDIR) $(EXECUTORS)/env/bin/python tests/oracle/executors/check.py \
		--work $(EXECUTORS)/work
	@echo "oracle-executors: processes, Dask, MPI and Ray write what threads write"

$(EXECUTORS)/.ready: tests/oracle/executors/requirements.txt pyproject.toml $(VENV)/.made
	@echo "making $(@D)/env with Dask, MPICH and Ray"
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)/env
	@$(@D)/env/bin/python -m pip -qq --disable-pip-version-check --no-input install \
		--root-user-action=ignore -r $< .
	@touch $@
