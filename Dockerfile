# The package in a container; see docs/look-after-a-study.md.
FROM python:3.11-slim
RUN pip install --no-cache-dir uv
COPY . /opt/transferscope
# The versions of the lock, each with its checksum.
RUN cd /opt/transferscope \
    && uv pip install --system --no-cache --require-hashes -r requirements/lock.txt \
    && uv pip install --system --no-cache --no-deps .
# Any user may run it, with or without a home.
ENV XDG_CACHE_HOME=/tmp/cache
WORKDIR /work
ENTRYPOINT ["transferscope"]
CMD ["--help"]
