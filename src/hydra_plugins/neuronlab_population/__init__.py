"""A Hydra sweeper and launcher that train the jobs of a sweep together.

They work for any Hydra application: `hydra.launcher.vectorized` names the function that takes all
jobs at once, `hydra.sweeper.check` the one that refuses jobs beforehand, and `hydra.sweeper.close`
the one that ends a sweep. Without them both behave as Hydra's basic ones.

Hydra executes the modules of a plugin anew whenever it scans for plugins, except those whose names
begin with an underscore. So what others import lives in those: a class that is made twice would
not be equal to itself.
"""

from hydra_plugins.neuronlab_population._composition import Composer
from hydra_plugins.neuronlab_population._jobs import BadJobsError, Job, SweepError

__all__ = ["BadJobsError", "Composer", "Job", "SweepError"]
