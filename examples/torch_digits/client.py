"""The digits with PyTorch: the module itself comes in with the global weights, and goes out trained.

    fedk run examples/torch_digits/client.py:app --clients 5 --rounds 5

Each client has every fifth image; the weights travel as the module's state_dict.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fedk_client import Client, ClientApp, Task, Update, Validation

Data = tuple[TensorDataset, TensorDataset]  # to train on, to measure on


def model() -> nn.Module:
    """Its weights are the initial model."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))  # .to("cuda") here, where there is one


def data(me: Client) -> Data:
    """What stays in this process: this client's part, of which every tenth image is for measuring."""
    x, y = map(torch.tensor, load_digits(return_X_y=True))
    x, y = x[me.part :: me.parts].float() / 8, y[me.part :: me.parts]
    held = torch.arange(len(x)) % 10 == 0
    return TensorDataset(x[~held], y[~held]), TensorDataset(x[held], y[held])


app = ClientApp(model=model, data=data)


@app.train
def train(net: nn.Module, task: Task[Data]) -> Update:
    own, _ = task.data
    sgd = torch.optim.SGD(net.parameters(), lr=task.setting("lr", 0.1))
    for _ in range(task.setting("epochs", 1)):
        for x, y in DataLoader(own, batch_size=8, shuffle=True):
            sgd.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            sgd.step()
    return Update(net, num_examples=len(own), metrics={"loss": loss.item()})


@app.validate
def validate(net: nn.Module, task: Task[Data]) -> Validation:
    _, own = task.data
    x, y = own.tensors
    with torch.no_grad():
        right = (net(x).argmax(1) == y).float().mean()
    return Validation(num_examples=len(own), metrics={"accuracy": right.item()})
