# syntax=docker/dockerfile:1
# Two stages: the first has pnpm, compilers and sources; the second the pinned Node, the bundle, and nothing to build with.

FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY . .
# Installs with the pnpm of package.json by the lock file, the pinned Node among the packages, and bundles with that Node;
# this stage's own only starts it.
RUN node tools/setup.mjs

FROM debian:bookworm-slim
# libatomic1 is all that the pinned Node links to beyond what the image has.
RUN apt-get update && \
    apt-get install --yes --no-install-recommends libatomic1 && \
    rm -rf /var/lib/apt/lists/* && \
    groupadd --gid 10001 heddle && \
    useradd --uid 10001 --gid 10001 --home-dir /var/lib/heddle --no-create-home --shell /usr/sbin/nologin heddle && \
    install -d -o 10001 -g 10001 -m 0700 /var/lib/heddle
COPY --from=build /src/node_modules/node/bin/node /opt/heddle/bin/node
COPY --from=build /src/dist /opt/heddle/dist
COPY --chmod=0755 deploy/image/heddle deploy/image/ready /opt/heddle/bin/
ENV PATH=/opt/heddle/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /var/lib/heddle
USER 10001:10001
# HTTP API, DNS, catalog, CA, health checker, metrics of each daemon, sidecars.
EXPOSE 8500 8600 8600/udp 8300 8310 8320 9102 9300 9310 9320 9400 9600 21000-21255
# The agent's; a daemon alone names its own listener (see docker-compose.yml).
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --start-interval=1s CMD ["ready", "http://127.0.0.1:8500/readyz"]
ENTRYPOINT ["heddle"]
CMD ["agent", "-server", "-bootstrap-expect=1", "-data-dir=/var/lib/heddle"]
