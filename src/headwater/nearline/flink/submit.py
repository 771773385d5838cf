"""What `flink run -py` is given: everything else is imported, so that Flink's workers import it too."""

import sys

from headwater.nearline.flink.job import main

main(sys.argv[1])
