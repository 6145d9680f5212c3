"""Who samples completions, where it is not our own decoder: vLLM, on a server or in this process."""

from recap.sampling.generators.base import Completion as Completion
from recap.sampling.generators.base import GenerationRequest as GenerationRequest
from recap.sampling.generators.base import Generator as Generator
from recap.sampling.generators.base import GeneratorError as GeneratorError
from recap.sampling.generators.vllm_colocated import VLLMColocated as VLLMColocated
from recap.sampling.generators.vllm_server import VLLMServer as VLLMServer
