# Two images from one file: `server` (no torch; the default) and `worker`.
#   docker build --target server -t plateau-server .
#   docker build --target worker -t plateau-worker .
# tests/test_deploy.py runs every step below as plain processes.

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY templates templates
COPY static static
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist /src

FROM wheel AS server-venv
COPY constraints.txt ./
RUN python -m venv /venv
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt "$(ls /dist/*.whl)[server]"

FROM wheel AS worker-venv
# Empty takes the registry's torch, which brings CUDA's libraries and runs on CPUs as well.
ARG TORCH_INDEX=""
COPY constraints.txt ./
RUN python -m venv /venv
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$(ls /dist/*.whl)[worker]"

FROM python:3.12-slim AS runtime
LABEL org.opencontainers.image.title="Plateau" \
      org.opencontainers.image.description="Launches and monitors GPT training runs" \
      org.opencontainers.image.licenses="MIT"
# A new named volume takes the owner of the folder it covers.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin plateau \
 && install -d -m 0750 -o 10001 -g 10001 /data
ENV PATH="/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PLATEAU_HOME=/data
STOPSIGNAL SIGTERM
VOLUME /data

FROM runtime AS worker
# torch.compile builds its kernels with the machine's own C++ compiler.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY --from=worker-venv /venv /venv
USER 10001
ENTRYPOINT ["python", "-m", "worker"]

FROM runtime AS server
COPY --from=server-venv /venv /venv
USER 10001
# Inside a container; who reaches it is decided by what is published.
ENV PLATEAU_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2).close()"]
ENTRYPOINT ["python", "-m", "app.server"]
