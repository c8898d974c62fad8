# The driver and the tools that it runs, nothing else of its own. `make image` builds the binary first.
# BASE must be a Debian release whose C library is not older than the one the binary was built with.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
ARG BINARY=target/release/fairlead
ARG VERSION=dev
LABEL org.opencontainers.image.title="fairlead" \
      org.opencontainers.image.description="Kubernetes CSI driver for many block clouds" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# mkfs, fsck and resize for the file systems that the driver makes, and blkid for its proof of a blank device.
RUN apt-get update \
 && apt-get install -y --no-install-recommends e2fsprogs xfsprogs btrfs-progs util-linux ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY ${BINARY} /usr/local/bin/fairlead
ENTRYPOINT ["/usr/local/bin/fairlead"]
CMD ["version"]
