"""Who samples completions, where it is not our own decoder: vLLM, on a server or in this process."""

from recap.generation.base import Completion as Completion
from recap.generation.base import GenerationRequest as GenerationRequest
from recap.generation.base import Generator as Generator
from recap.generation.base import GeneratorError as GeneratorError
from recap.generation.vllm_colocated import VLLMColocated as VLLMColocated
from recap.generation.vllm_server import VLLMServer as VLLMServer
