# The workflow: execute the chapters, build the site, make recorded runs.
# `make` calls it through workflow/flow.py; by hand, or on a cluster (book/cluster.md):
#   .venv/bin/python -m snakemake --cores 2 book
import sys

sys.path.insert(0, f"{workflow.basedir}/workflow")
import keys
import runs

workdir: workflow.basedir

PROFILE = config.get("profile", "quick")
PYTHON = sys.executable
if workflow.is_main_process:
    keys.refresh(PROFILE)

localrules: book, notebooks, records, site

wildcard_constraints:
    name=r"[\w-]+",
    paper=r"[a-z0-9-]+",
    run=r"[a-z0-9-]+--(quick|standard|paper)--\d+",
    set=r"[a-z]+",
    profile=r"quick|standard|paper",
    i=r"\d+",
    n=r"\d+",

rule book:
    input: "_build/site.done"

rule notebooks:
    input: expand("_build/executed/{name}.ipynb", name=keys.chapters())

# The key stands for code cells, library, pins, profile and records, by content.
rule execute:
    input: "_build/keys/{name}.json"
    output: "_build/executed/{name}.ipynb"
    shell: "{PYTHON:q} workflow/execute.py {wildcards.name} --profile {PROFILE}"

# A stamp, not the site itself: Snakemake deletes an output before it is made again, and
# a build that fails is to leave the old pages readable.
rule site:
    input:
        rules.notebooks.input,
        "_build/keys/site.json",
    output: "_build/site.done"
    log: "_build/logs/site-build.log"
    shell:
        "{PYTHON:q} workflow/site.py build > {log:q} 2>&1"
        " && head -n 1 {log:q} && touch {output:q} || {{ cat {log:q}; exit 1; }}"

# All recorded runs that the tables of the book ask for.
rule records:
    input: lambda wildcards: [run["path"] for run in runs.wanted()]

# No inputs: a record is made when it is missing, and never again because a file is newer.
rule record:
    output: "book/records/{paper}/{run}.json"
    log: "_build/logs/{paper}--{run}.log"
    shell: "{PYTHON:q} workflow/runs.py make {wildcards.paper} {wildcards.run}"

# A set of glimpse sequences, in `--config shards=N` parts that need not share a machine:
#   snakemake --cores 2 _build/annotations/birds--standard.safetensors --config shards=4
SHARDS = int(config.get("shards", 1))

rule annotation:
    input:
        expand("_build/annotations/{{set}}--{{profile}}/shard-{i}-of-{n}.safetensors",
            i=range(1, SHARDS + 1), n=SHARDS)
    output: "_build/annotations/{set}--{profile}.safetensors"
    shell:
        "{PYTHON:q} -m saccade_lib.annotation join {wildcards.set}"
        " --profile {wildcards.profile} --shards {SHARDS}"

rule shard:
    output: "_build/annotations/{set}--{profile}/shard-{i}-of-{n}.safetensors"
    shell:
        "{PYTHON:q} -m saccade_lib.annotation make {wildcards.set}"
        " --profile {wildcards.profile} --shard {wildcards.i}/{wildcards.n}"
