# The project for the CPU, installed from the lock:
#   docker build -t arcface-mxnet .
#   docker run --rm -it -v "$PWD/data:/arcface/data" -v "$PWD/runs:/arcface/runs" arcface-mxnet recognition/train.py --list
FROM python:3.11-slim-bookworm

# What the wheel of MXNet needs from the system.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 libquadmath0 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /arcface
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
# The lock first: its layer stays while the code changes.
COPY requirements-cpu.txt ./
RUN python -m venv $VIRTUAL_ENV && pip install --no-cache-dir --disable-pip-version-check --no-deps -r requirements-cpu.txt
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
    && python -c "from arcface_mxnet.engines.mxnet.mx import mx; mx.nd.ones(1).asnumpy()"

RUN useradd --create-home --uid 1000 arcface && mkdir -p data runs && chown arcface data runs
USER arcface
ENTRYPOINT ["python"]
CMD ["recognition/train.py", "--help"]
