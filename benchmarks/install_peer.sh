#!/usr/bin/env bash
# Makes an environment of all that is in .venv and of what others' own code needs besides: by default
# mmpretrain, for mmpose's own ViTPose. .venv itself stays as it is.
#   make install && bash benchmarks/install_peer.sh
#   make install && bash benchmarks/install_peer.sh .venv-transformers transformers==5.23.0
set -euo pipefail
cd "$(dirname "$0")/.."
base=.venv/bin/python
peer=${1:-.venv-peer}
shift || true

[ -x "$base" ] || { echo 'first: make install' >&2; exit 1; }
[ -x "$peer/bin/python" ] || "$base" -m venv --without-pip "$peer"
# addsitedir, unlike a bare path, also reads .venv's own .pth files: vitpose_mm is installed by one
"$base" - "$("$peer/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" <<'END'
import sys
import sysconfig
from pathlib import Path

line = f'import site; site.addsitedir({sysconfig.get_path("purelib")!r})\n'
Path(sys.argv[1], 'base.pth').write_text(line)
END
if [ $# -gt 0 ]; then
  "$base" -m pip --python "$peer/bin/python" install --quiet "$@"
  exit
fi
"$base" -m pip --python "$peer/bin/python" install --quiet --no-deps -r benchmarks/requirements.txt
"$peer/bin/python" -W ignore -c '
import mmpose, mmpretrain, vitpose_mm
print("mmpose", mmpose.__version__, "mmpretrain", mmpretrain.__version__,
      "vitpose_mm", vitpose_mm.__version__)'
