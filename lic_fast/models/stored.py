"""CDF tables, fingerprint and state dict of a model: all of it that is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressai.entropy_models import EntropyBottleneck, EntropyModel, GaussianConditional
from compressai.models import CompressionModel
from torch import Tensor, nn

from lic_fast.ans import CdfTables
from lic_fast.models.fingerprint import fingerprint
from lic_fast.models.state_dict import normalize_state_dict, with_derived_buffers
from lic_fast.models.tables import check_quantiles, check_scales
from lic_fast.ops.held import held

__all__ = ["StoredModel"]


class StoredModel(CompressionModel):
    """A model with the CDF tables of z and of y, and with published names in its state dict.

    Attributes:
        portable: Whether its tables are part of it, for good.
    """

    portable: bool = False

    entropy_bottleneck: EntropyBottleneck
    gaussian_conditional: GaussianConditional

    def cdf_tables(self) -> tuple[CdfTables, CdfTables]:
        """The tables of z and of y, prepared for the coder.

        Raises:
            ValueError: They are missing (:meth:`update` makes them) or impossible.
        """
        return (
            self._prepared("entropy_bottleneck", self.entropy_bottleneck),
            self._prepared("gaussian_conditional", self.gaussian_conditional),
        )

    def _prepared(self, name: str, module: EntropyModel) -> CdfTables:
        buffers = (module._quantized_cdf, module._cdf_length, module._offset)
        if any(buffer.is_meta for buffer in buffers):
            raise ValueError(f"{name}'s CDF tables are on meta: without numbers nothing is coded")
        if any(buffer.numel() == 0 for buffer in buffers):
            raise ValueError(
                f"{name} has no CDF tables: call update() once after loading or training"
            )
        return held(
            "tables",
            [module],
            lambda: CdfTables(*(buffer.detach().cpu().numpy() for buffer in buffers)),
        )

    def update(
        self,
        scale_table: Sequence[float] | Tensor | None = None,
        force: bool = False,
        update_quantiles: bool = False,
    ) -> bool:
        """Makes the CDF tables; see :meth:`compressai.models.CompressionModel.update`.

        A portable model has them from its file, for good: made again elsewhere, by
        other rounding, they would be other tables.

        Args:
            scale_table: Ascending scales of y's tables; CompressAI's 64 if None.
            force: Make tables anew that there are already.
            update_quantiles: Set the quantiles of z's prior from its weights first.

        Returns:
            Whether any tables were made.

        Raises:
            ValueError: The model is portable, and `force` is set; or the tables would be larger
                than tables may be: the prior's quantiles or a scale are out of bounds.
        """
        if self.portable:
            if not force:
                return False
            raise ValueError("a portable model's CDF tables are part of it: they are not remade")
        if force or self.entropy_bottleneck._offset.numel() == 0:
            if update_quantiles:
                self.entropy_bottleneck._update_quantiles()
            check_quantiles(self.entropy_bottleneck)
        if scale_table is not None:
            check_scales(self.gaussian_conditional, scale_table)
        return super().update(scale_table, force=force)

    def fingerprint(self) -> bytes:
        """Eight bytes that tell models apart whose weights or CDF tables differ.

        See :func:`lic_fast.models.fingerprint.fingerprint`.
        """
        return fingerprint(self)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads weights, published names included.

        Old and new names of the factorised prior and a ``module.`` prefix are
        understood. CDF tables that the state dict leaves out are emptied, since
        they belong to other weights: :meth:`update` makes them again.

        Args:
            state_dict: Entries of this model, or of the original implementation.
            strict: As for :meth:`torch.nn.Module.load_state_dict`.
            assign: As for :meth:`torch.nn.Module.load_state_dict`.

        Raises:
            RuntimeError: Names or shapes do not fit and `strict` is set.
        """
        entries = with_derived_buffers(normalize_state_dict(state_dict), self)
        # Tables have the size that their model's scales ask for.
        for name, module in self.named_modules():
            if isinstance(module, EntropyModel):
                for buffer_name, buffer in module.named_buffers(recurse=False):
                    entry = entries.get(f"{name}.{buffer_name}")
                    if entry is not None and entry.shape != buffer.shape:
                        setattr(module, buffer_name, buffer.new_empty(entry.shape))
        return nn.Module.load_state_dict(self, entries, strict=strict, assign=assign)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> Any:
        """A model whose widths are inferred from the entries, holding a copy of them.

        Args:
            state_dict: Names and values, published names included.

        Raises:
            CheckpointError: The entries are not those of this class; the message
                names what was missing and what was left over.
        """
        from lic_fast.models.checkpoint import build_from_state_dict

        return build_from_state_dict(cls, state_dict)
