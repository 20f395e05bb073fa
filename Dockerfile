# weir in a container: everything a pod of `weir render k8s` runs. docs/kubernetes.md
#
#     docker build -t weir:0.1.0 .
#     docker run --rm --shm-size 1g -v weir-runs:/runs weir:0.1.0 run examples/recipes/quickstart.yaml
#
# For GPUs both images need CUDA 13 on Debian 12 (NVIDIA's repository for it), and the preset builds for sm_90:
#
#     docker build -t weir:0.1.0-cuda --build-arg PRESET=cuda --build-arg BUILD_IMAGE=... --build-arg RUN_IMAGE=... .
ARG BUILD_IMAGE=debian:12-slim
ARG RUN_IMAGE=debian:12-slim

FROM ${BUILD_IMAGE} AS build
ARG PRESET=release
WORKDIR /src
# Packages first: they change less often than the sources.
COPY ops/deps ops/deps
RUN apt-get update && ops/deps run && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset "${PRESET}" && cmake --build "build/${PRESET}"
RUN mkdir -p /opt/weir/bin /opt/weir/plugins \
    && find "build/${PRESET}/bin" -maxdepth 1 -type f \( -name weir -o -name 'weir-*' \) -exec cp -t /opt/weir/bin {} + \
    && strip --strip-debug /opt/weir/bin/* \
    && cp "build/${PRESET}"/plugins/*.so /opt/weir/plugins/ \
    && cp -r examples /opt/weir/

FROM ${RUN_IMAGE} AS run
# Libraries of the programs; redis-server: the view; python3, gcc, g++: what rewards of code run. hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates g++ gcc libc6-dev libcurl4 libflint-arb2 libflint17 libfyaml0 libgmp10 libhiredis0.14 \
        libjansson4 libmicrohttpd12 libpcre2-8-0 libprotobuf-c1 libseccomp2 libsqlite3-0 libutf8proc2 libxxhash0 \
        libzmq5 libzstd1 python3 redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin weir \
    && install -d -o weir -g weir /runs
COPY --from=build /opt/weir /opt/weir
ENV PATH=/opt/weir/bin:$PATH \
    WEIR_RUN_ROOT=/runs \
    OMP_NUM_THREADS=1
WORKDIR /opt/weir
VOLUME /runs
EXPOSE 7000 7001 8420
USER 10001:10001
STOPSIGNAL SIGTERM
# Pods have probes of their own; this is for docker and podman.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 CMD ["weir", "probe", "live"]
# Exec form: weir is process 1, reaps what it adopts, and drains on SIGTERM.
ENTRYPOINT ["weir"]
CMD ["help"]
