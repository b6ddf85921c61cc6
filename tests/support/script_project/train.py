"""A training script as people bring it to SageMaker: arguments, channels, a Debugger hook, a state saved by torch."""

import argparse
import os
import time

import torch
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import smdebug.pytorch as smd


def net(classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * 16, classes),
    )  # fmt: skip


def loader(folder, batch_size, train):
    steps = [transforms.Resize((48, 48)), transforms.ToTensor()]
    if train:
        steps.insert(1, transforms.RandomHorizontalFlip())
    return DataLoader(datasets.ImageFolder(folder, transforms.Compose(steps)), batch_size=batch_size, shuffle=train)


def run_epoch(model, data, criterion, hook, optimizer=None):
    hook.set_mode(smd.modes.TRAIN if optimizer else smd.modes.EVAL)
    model.train(optimizer is not None)
    right = total = 0
    for images, labels in data:
        with torch.set_grad_enabled(optimizer is not None):
            outputs = model(images)
            loss = criterion(outputs, labels)
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right += (outputs.argmax(1) == labels).sum().item()
        total += len(labels)
    return right / total


def main(args):
    torch.manual_seed(0)
    train = loader(args.train, args.batch_size, True)
    validation = loader(args.validation, args.batch_size, False)
    model, criterion = net(len(train.dataset.classes)), nn.CrossEntropyLoss()
    hook = smd.Hook.create_from_json_file()
    hook.register_hook(model)
    hook.register_loss(criterion)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        start = time.time()
        run_epoch(model, train, criterion, hook, optimizer)
        accuracy = run_epoch(model, validation, criterion, hook)
        hook.save_scalar("accuracy", accuracy, sm_metric=True)
        print(f"Epoch {epoch}: Accuracy: {accuracy:.4f}, {time.time() - start:.1f} s")
    torch.save(
        {"state": model.state_dict(), "classes": train.dataset.classes}, os.path.join(args.model_dir, "model.pth")
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--model-dir", type=str, default=os.environ["SM_MODEL_DIR"])
    parser.add_argument("--train", type=str, default=os.environ["SM_CHANNEL_TRAIN"])
    parser.add_argument("--validation", type=str, default=os.environ["SM_CHANNEL_VALIDATION"])
    main(parser.parse_args())
