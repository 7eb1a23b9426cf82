# The controller as an image: `docker build -t autoscaler .`. Nothing in it needs a shell, a compiler or root.
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY autoscaler autoscaler
COPY policies policies
COPY rules rules
RUN python -m pip wheel --no-cache-dir --disable-pip-version-check --no-deps --wheel-dir /wheels .
# the versions that are tested; the database drivers are those of import-aodh and export-aodh
RUN python -m venv --without-pip /opt/autoscaler \
    && python -m pip --python /opt/autoscaler/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --find-links /wheels "autoscaler[aodh]"

FROM ${PYTHON}
LABEL org.opencontainers.image.title="autoscaler" \
      org.opencontainers.image.description="An event-driven alarm and autoscaling controller for OpenStack" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autoscaler \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/autoscaler --shell /usr/sbin/nologin autoscaler \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/autoscaler
COPY --from=build /opt/autoscaler /opt/autoscaler
ENV PATH=/opt/autoscaler/bin:$PATH \
    HOME=/var/lib/autoscaler \
    AUTOSCALER_STATE_DIR=/var/lib/autoscaler \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/autoscaler
USER 10001:10001
EXPOSE 8042
# for an API without TLS; Kubernetes has probes of its own
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8042/healthz', timeout=4)"]
ENTRYPOINT ["autoscaler"]
CMD ["run"]
