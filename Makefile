# One command per habit. What is Python runs in .venv, which is made when it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The package index may be slow; it is not ours to hurry.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test fuzz lint docs bench fleet pictures pip deb rpm release install acceptance clean
help:
	@echo 'make demo        hand real-shaped mails to sendmail, show what Graph (a stand-in on this machine) accepted'
	@echo 'make test        the tests'
	@echo 'make fuzz        100,000 broken mails in both forms: none raises, nothing of them is lost'
	@echo 'make lint        ruff and mypy; mandoc, shellcheck and PowerShell'"'"'s parser where they are there'
	@echo 'make docs        the documents that are made from the code: settings, outcomes, conf(5), the example'
	@echo 'make bench       what sendmail costs, against a bare start of Python'
	@echo 'make fleet       many nodes at one mailbox, on a virtual clock: how long their mail takes, and what it costs'
	@echo 'make pictures    text mails as their readers see them, into dist/pictures (chromium)'
	@echo 'make pip         a virtual environment of its own with the newest libraries, and a pass in it'
	@echo 'make deb         the Debian package, into dist/ (Debian 13, or mmdebstrap and root)'
	@echo 'make rpm         the RPM, into dist/ (rpmbuild)'
	@echo 'make release     .deb, sdist, wheel, SBOM and checksums of a tag, built twice; with KEY=… also a signed APT repository'
	@echo 'make acceptance  the package on a booted Debian 13, with the programs that send mail (root, systemd-nspawn, mmdebstrap, chromium)'
	@echo 'make clean       remove what the others made'

$(STAMP): pyproject.toml packaging/debian13-constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint packaging/debian13-constraints.txt --editable '.[test,lint,release]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m tests.demo

# Two at a time: the tests wait for other processes most of the time.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@! command -v mandoc >/dev/null || mandoc -T lint -W warning docs/man/*
	@! command -v shellcheck >/dev/null || shellcheck -s sh proxmox_graph_mail/admin/scripts/*.sh packaging/motd
	@! command -v pwsh >/dev/null || pwsh -NoProfile -File tests/parse.ps1 proxmox_graph_mail/admin/scripts/*.ps1

# What is made from the code's own words: the tables of settings and outcomes, the manual page's keys, the example.
docs: $(STAMP)
	$(BIN)/python -m tests.reference

bench: $(STAMP)
	@$(BIN)/python -m tests.bench

fleet: $(STAMP)
	@$(BIN)/python -m tests.fleet

fuzz: $(STAMP)
	@$(BIN)/python -m tests.fuzz 100000

pictures: $(STAMP)
	@$(BIN)/python -m tests.pictures

# As pip resolves today, without the versions that the tests are pinned to: what is imported is declared, what breaks is capped.
pip:
	rm -rf .pip && $(PYTHON) -m venv .pip
	.pip/bin/python -m pip --disable-pip-version-check --quiet install .
	PROXMOX_GRAPH_MAIL_SPOOL=.pip/spool PROXMOX_GRAPH_MAIL_STATE=.pip/state .pip/bin/proxmox-graph-mail run --once
	PROXMOX_GRAPH_MAIL_SPOOL=.pip/spool .pip/bin/sendmail -odq root </dev/null
	PROXMOX_GRAPH_MAIL_SPOOL=.pip/spool .pip/bin/proxmox-graph-mail queue list
	test -e .pip/share/proxmox-graph-mail/systemd/proxmox-graph-mail.service && test -x .pip/bin/proxmox-graph-mail-watch
	.pip/bin/proxmox-graph-mail --help >/dev/null && .pip/bin/proxmox-graph-mail explain AADSTS7000222
	! .pip/bin/proxmox-graph-mail bogus 2>/dev/null
	rm -rf .pip

deb:
	@packaging/build-deb

rpm:
	@packaging/build-rpm

release: $(STAMP)
	packaging/release

# Everything, for a host that has the libraries and no package; DESTDIR= for packagers.
install:
	packaging/install /usr/share/proxmox-graph-mail/$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' proxmox_graph_mail/__init__.py) "$(DESTDIR)" everything

acceptance: $(STAMP)
	$(BIN)/python -m pytest tests/acceptance -s --durations=5

clean:
	rm -rf $(VENV) .demo .pip dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
