# The container image: one binary and its configuration, run by an ordinary user on a read-only root.
#
#   docker build --tag sessgate .
#   docker run --read-only --network container:my-app --volume sessgate:/var/lib/sessgate sessgate
#
# It listens on loopback only, which is what the app beside it in the same pod or network namespace reaches, and nobody
# else. container/config.yaml says what to mount, and where, to serve further.

# Both must be of the same Debian release: the binary is linked against the builder's C library.
ARG BUILDER_IMAGE=docker.io/library/rust:1-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /src

# The dependencies alone, behind stub sources: this layer is built again only when the manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked \
    && rm -r src

# Cargo goes by time stamps, and sources from a checkout may be older than the stubs.
COPY src src
ARG REVISION=unknown
RUN find src -type f -exec touch {} + \
    && SESSGATE_REVISION="${REVISION}" cargo build --release --locked --bin sessgate \
    && install -D --mode=0755 target/release/sessgate /image/sessgate \
    && install -d --mode=0700 /image/state/sessgate

FROM ${RUNTIME_IMAGE}
ARG RUNTIME_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sessgate" \
      org.opencontainers.image.description="Session gateway sidecar: live limits, clean-up and metrics in front of an app's session store" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${RUNTIME_IMAGE}"

COPY --from=builder /image/sessgate /usr/local/bin/sessgate
COPY LICENSE /usr/share/doc/sessgate/copyright
COPY container/config.yaml /etc/sessgate/config.yaml
# The directory itself is copied, not only its content, so that it keeps its mode and a new volume takes its owner.
COPY --from=builder --chown=65532:65532 /image/state /var/lib

# By number, so that Kubernetes can verify `runAsNonRoot`; a pod sets `fsGroup: 65532` for its volumes.
USER 65532:65532
VOLUME ["/var/lib/sessgate"]
# The session API, and admin with /metrics.
EXPOSE 8480 9480
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/sessgate", "health"]
ENTRYPOINT ["/usr/local/bin/sessgate"]
CMD ["run", "--config", "/etc/sessgate/config.yaml"]
