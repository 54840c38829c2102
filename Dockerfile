# The host with its bundled modules:
#   docker build -t hookline .
#   docker run -p 8000:8000 -v hookline-data:/var/lib/hookline hookline
# Settings are variables (-e HOOKLINE_BUS__KIND=amqp -e HOOKLINE_BUS__URI=…). The token:
#   docker exec CONTAINER cat /var/lib/hookline/admin.token

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# What `hookline new` writes beside a module.
COPY LICENSE-APACHE LICENSE-MIT clippy.toml rustfmt.toml ./
COPY host host
COPY plugin-api plugin-api
COPY plugins plugins
COPY scripts scripts
COPY tests tests
COPY webhooks_skel webhooks_skel
RUN scripts/build

FROM debian:bookworm-slim
# The authorities against which endpoints are verified.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/hookline --shell /usr/sbin/nologin hookline \
    && install -d -o hookline -g hookline -m 700 /var/lib/hookline
COPY --from=build /src/target/release/hookline /usr/local/bin/hookline
# Root's, so that the host cannot write what it loads. Mount a folder over it to bring modules of your own.
COPY --from=build /src/plugins/*.so /usr/local/lib/hookline/plugins/
USER hookline
WORKDIR /var/lib/hookline
VOLUME /var/lib/hookline
ENV HOOKLINE_API__LISTEN=0.0.0.0:8000 \
    HOOKLINE_DATA_DIR=/var/lib/hookline \
    HOOKLINE_PLUGINS_DIR=/usr/local/lib/hookline/plugins
EXPOSE 8000
# Alive, not ready: a broker that is away is no reason to end the host.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["hookline", "health", "--alive"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hookline"]
CMD ["run"]
