"""TRL's ``SFTTrainer``: the ``Trainer``'s callback records it, in bfloat16, its default; the loss is the trainer's."""

import inspect

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from aadsl.integrations.transformers import RecorderCallback, trainer_loss

LINES = [line for line in inspect.getsource(inspect).splitlines() if len(line) > 30][:200]
DATA = None  # the recording holds the batches
ASKED = {}  # what the study is given besides: the loss, as soon as there is a trainer


def tokenizer_of_bytes():
    alphabet = ["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def train(path, epochs=2):
    torch.manual_seed(0)
    tokenizer = tokenizer_of_bytes()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    rate = {"learning_rate": 0.01, "lr_scheduler_type": "constant", "gradient_accumulation_steps": 2}
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no", "use_cpu": True}
    arguments = SFTConfig(f"{path}-checkpoints", num_train_epochs=epochs, max_length=64, **rate, **quiet)
    record = RecorderCallback(path, overwrite=True)  # the added line, and its place in the trainer
    texts = Dataset.from_list([{"text": line} for line in LINES])
    trainer = SFTTrainer(model, arguments, train_dataset=texts, processing_class=tokenizer, callbacks=[record])
    trainer.train()
    ASKED["loss"] = trainer_loss(trainer)
    return model
