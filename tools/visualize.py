"""Draw networks, memory plans and buckets: ``symbucket view`` as a script.

python tools/visualize.py bundle --output bundle.html
python tools/visualize.py --help
"""

import sys

from symbucket.cli import main

if __name__ == "__main__":
    sys.exit(main(["view", *sys.argv[1:]], prog="visualize.py"))
