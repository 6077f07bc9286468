"""A notebook's kernel as a fork of the process that has the libraries loaded (``common.warm``), where there is one."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from analysis_lib.common import warm

NAME = "forked"


class ForkedKernel(LocalProvisioner):
    """Kernels of this machine, the first one a fork."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """As its base, which starts a Python process and imports everything again."""
        process: Any = warm.start_kernel(cmd, kwargs["env"], kwargs.get("cwd"))
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid, self.pgid = process, process.pid, process.pid
        return self.connection_info


def use_fork() -> None:
    """Let the next kernel be the fork that waits, if one does."""
    if warm.has_kernel():
        factory = KernelProvisionerFactory.instance()
        factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{ForkedKernel.__name__}", factory.GROUP_NAME)
        factory.default_provisioner_name = NAME
