# The driver and the programs that it runs with their libraries; no shell, no package manager. `make image` builds it.
# BASE must be a Debian release whose C library is not older than the one that the binary was built with.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS tools
# mkfs, fsck and resize for the file systems that the driver makes, and blkid for its proof of a blank device.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      btrfs-progs ca-certificates e2fsprogs util-linux xfsprogs
COPY image/collect.sh /image/
RUN ["/image/collect.sh", "/out"]
COPY image/sbom.sh crates /image/
ARG VERSION=dev
RUN /image/sbom.sh "${VERSION}" /image/crates /out/usr/share/packages > /out/usr/share/fairlead.cdx.json \
 && rm /out/usr/share/packages
# The build fails here, not a node later, when a library is missing or the base's C library is too old for the binary.
COPY target/release/fairlead /image/
RUN cp /image/fairlead /out/fairlead && chroot /out /fairlead version && rm /out/fairlead

FROM scratch
COPY --from=tools /out/ /
COPY target/release/fairlead /usr/local/bin/fairlead
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fairlead" \
      org.opencontainers.image.description="Kubernetes CSI driver for many block clouds" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The controller needs no more; the node mounts, so its pod runs as root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/fairlead"]
CMD ["version"]
