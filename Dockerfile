# The driver and the tools that it runs, nothing else of its own. `make image` builds the binary first.
# BASE must be a Debian release whose C library is not older than the one the binary was built with.
# Its name is given in full: buildah has no default registry.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
# mkfs, fsck and resize for the file systems that the driver makes, and blkid for its proof of a blank device.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      btrfs-progs ca-certificates e2fsprogs util-linux xfsprogs \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY target/release/fairlead /usr/local/bin/fairlead
# The build fails here, not a node later, when the base's C library is too old for the binary.
RUN ["/usr/local/bin/fairlead", "version"]
ARG VERSION=dev
LABEL org.opencontainers.image.title="fairlead" \
      org.opencontainers.image.description="Kubernetes CSI driver for many block clouds" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
ENTRYPOINT ["/usr/local/bin/fairlead"]
CMD ["version"]
