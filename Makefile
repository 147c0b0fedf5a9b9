# reprise: build, run, test, install.  PREFIX and DESTDIR as usual.

PREFIX  ?= /usr/local
DESTDIR ?=
UNITDIR ?= /lib/systemd/system
CARGO   ?= cargo

BINARY = target/release/reprise
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/reprise

.PHONY: all build run demo test bench lint docs install uninstall clean

all: build

build:
	$(CARGO) build --release --locked

# The server in the foreground with the default configuration, log on the terminal; its database and its
# control socket stand in target/run.
run: build
	@mkdir -p target/run
	@cat conf/examples/try-next.txt
	@$(BINARY) -f conf/reprise.cfg -w target/run -E

demo: build
	$(BINARY) demo

test:
	@tests/run

# The cost of a request, compared with Kamailio. BENCH=... selects workloads (see tests/bench/README.md).
bench:
	@tests/bench/run $(BENCH)

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

docs:
	$(CARGO) doc --no-deps --document-private-items

# Builds only when there is no binary yet, so that `make && sudo make install` needs no toolchain for root.
$(BINARY):
	$(CARGO) build --release --locked

install: $(BINARY)
	install -D -m 755 $(BINARY) "$(DESTDIR)$(PREFIX)/bin/reprise"
	test -e "$(DESTDIR)/etc/reprise/reprise.cfg" || \
	    install -D -m 644 conf/reprise.cfg "$(DESTDIR)/etc/reprise/reprise.cfg"
	install -d "$(DESTDIR)$(UNITDIR)"
	sed 's|/usr/local/|$(PREFIX)/|g' conf/reprise.service > "$(DESTDIR)$(UNITDIR)/reprise.service"
	chmod 644 "$(DESTDIR)$(UNITDIR)/reprise.service"
	install -d "$(DOCDIR)"
	for file in LICENSE* README.md; do \
	    if [ -e "$$file" ]; then install -m 644 "$$file" "$(DOCDIR)/"; fi; \
	done
	install -d "$(DOCDIR)/docs/functions" "$(DOCDIR)/conf/examples"
	install -m 644 docs/*.md "$(DOCDIR)/docs/"
	install -m 644 docs/functions/*.md "$(DOCDIR)/docs/functions/"
	install -m 644 conf/examples/*.cfg conf/examples/*.scn "$(DOCDIR)/conf/examples/"

# The configuration stays.
uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/reprise" "$(DESTDIR)$(UNITDIR)/reprise.service"
	rm -rf "$(DOCDIR)"

clean:
	$(CARGO) clean
