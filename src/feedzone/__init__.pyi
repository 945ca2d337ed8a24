from .embed import Engine as Engine
from .embed import create_app as create_app
from .embed import run_worker as run_worker
from .settings import Settings as Settings

__version__: str
__all__ = ["Engine", "Settings", "__version__", "create_app", "run_worker"]
