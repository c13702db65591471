"""Pruning a BERT's layers to fewer attention heads and neurons, and teaching what is left.

Each head and neuron gets a gate. Those with the smallest squared gradients of the loss go (Michel
et al., arXiv 1905.10650, for heads). Then the pruned layers learn to give what the whole ones gave
after each layer (TinyBERT, arXiv 1909.10351), beside the lesson of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.adapters.onnx.training import TaskLearner

BATCHES = 12
"""Of which the loss's gradients are taken."""
SUPERVISED = 0.5
"""Weight of the library's own lesson beside what the whole layers gave."""
LIKENESS = 4.0
"""Weight of the cosine to the whole layers' task part."""


def prune(learner: TaskLearner, heads: int, neurons: int) -> None:
    """Leave `heads` and `neurons` in each layer."""
    import torch

    layers = learner.model.encoder.layer
    size = layers[0].attention.self.attention_head_size
    gates = [(_gate(layer.attention.output, size), _gate(layer.output, 1)) for layer in layers]
    noticed = [tuple(torch.zeros_like(gate.value) for gate in pair) for pair in gates]
    learner.model.eval()
    for _ in range(BATCHES):
        loss, _ = learner.loss()
        loss.backward()
        for pair, sums in zip(gates, noticed, strict=True):
            for gate, total in zip(pair, sums, strict=True):
                total.add_(gate.value.grad.square())
                gate.value.grad = None
    learner.model.zero_grad()
    for layer, pair, (by_head, by_neuron) in zip(layers, gates, noticed, strict=True):
        for gate in pair:
            gate.hook.remove()
        _cut(layer, _most(by_head, heads), _most(by_neuron, neurons), size)


class _Gate:
    """Ones that what enters a module is multiplied by, `size` numbers by each."""

    def __init__(self, value: Any, size: int) -> None:
        self.value = value
        self.hook: Any = None
        self._size = size

    def __call__(self, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * self.value.repeat_interleave(self._size), *inputs[1:])


def _gate(module: Any, size: int) -> _Gate:
    import torch

    weight = module.dense.weight
    gate = _Gate(torch.ones(weight.shape[1] // size, device=weight.device).requires_grad_(), size)
    gate.hook = module.dense.register_forward_pre_hook(gate)
    return gate


def _most(noticed: Any, count: int) -> Any:
    return noticed.topk(min(count, len(noticed))).indices.sort().values


def _cut(layer: Any, heads: Any, neurons: Any, size: int) -> None:
    """Leave these heads and neurons."""
    import torch

    rows = (heads[:, None] * size + torch.arange(size, device=heads.device)).flatten()
    attention = layer.attention.self
    for part in (attention.query, attention.key, attention.value):
        _keep(part, 0, rows)
    _keep(layer.attention.output.dense, 1, rows)
    _keep(layer.intermediate.dense, 0, neurons)
    _keep(layer.output.dense, 1, neurons)
    attention.num_attention_heads = len(heads)
    attention.all_head_size = len(rows)


def _keep(linear: Any, axis: int, kept: Any) -> None:
    """Leave these outputs (axis 0) or inputs (axis 1) of a linear map."""
    import torch

    linear.weight = torch.nn.Parameter(linear.weight.detach().index_select(axis, kept).clone())
    if axis == 0:
        linear.bias = torch.nn.Parameter(linear.bias.detach()[kept].clone())


class Distilling:
    """What the whole layers gave for every text of the lessons, and how far the pruned ones are
    from it. Holds 4.6 kB a token, about 3 GB for the library."""

    def __init__(self, whole: TaskLearner, pruned: TaskLearner) -> None:
        import torch

        self._pruned = pruned
        texts = pruned.lessons.texts()
        self._row = {text: i for i, text in enumerate(texts)}
        self._states: list[Any] = [None] * len(texts)

        def keep(group: list[int], mask: Any, states: Any) -> None:
            for n, i in enumerate(group):
                self._states[i] = states[:, n, mask[n]].to(torch.bfloat16).clone()

        with torch.no_grad():
            points = whole.pooled(texts, every=64, look=keep)
            self._asked = whole.task_part(points)
        some = torch.cat(self._states[::20], dim=1).float()
        self._spread = some.var(dim=1).mean(dim=1)
        """(layers,): the mean variance of a number after each layer."""

    def loss(self) -> tuple[Any, str]:
        """Of a new batch."""
        import torch

        labels, texts, others = self._pruned.lessons.batch()
        rows = [self._row[text] for text in texts]
        off = []

        def compare(group: list[int], mask: Any, states: Any) -> None:
            wanted = torch.cat([self._states[rows[i]] for i in group], dim=1).float()
            off.append((states[:, mask].float() - wanted).square().mean(dim=2))

        points = self._pruned.pooled(texts, look=compare)
        told = self._pruned.told(labels, points, others)
        hidden = (torch.cat(off, dim=1).mean(dim=1) / self._spread).mean()
        unlike = 1 - (told.asked * self._asked[rows]).sum(dim=1).mean()
        loss, words = self._pruned.judged(told, SUPERVISED)
        words = f"hidden {hidden:.3f}, unlike {unlike:.3f}, {words}"
        return hidden + LIKENESS * unlike + loss, words
