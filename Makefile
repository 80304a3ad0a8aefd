# `make` prints this menu; each line is a command that can be typed as it stands.
.PHONY: menu setup test quick lint wheels clean

menu:
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile | expand -t 14

setup: ## make this checkout ready to run (bin/cit-setup)
	bin/cit-setup

test: ## set up, check and test everything (tests/run)
	tests/run

quick: ## pytest's rules and unit tests only, stop at the first fault
	tests/run -x tests/rules tests/int

lint: ## ruff and mypy
	.venv/bin/ruff check && .venv/bin/mypy

wheels: ## a wheel of each room and of the suite, in dist/
	for room in . cit_*/; do (cd "$$room" && "$(CURDIR)/.venv/bin/python" -m hatchling build -t wheel -d "$(CURDIR)/dist") || exit; done

changelog: ## what changed since the last release
	@sed 's/^/- /' changes/*.md

clean: ## remove what was built and cached, .venv too
	rm -rf .venv .venv.lock dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
