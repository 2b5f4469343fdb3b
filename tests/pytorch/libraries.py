"""Networks of transformers, timm and torchvision, of small sizes, with random weights."""

from __future__ import annotations

import numpy as np
from torch import nn

from tests.pytorch.networks import CLASSES, WORDS, Network, every_token, sentences

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def one_size(*sizes):
    """Arrays of ``sizes``; the bucket key is how many."""
    return lambda rng, key: (rng.normal(size=(key, *sizes)).astype(np.float32),)


def pictures(rng, key):
    return (rng.normal(size=(4, 3, key, key)).astype(np.float32),)


class LanguageModel(nn.Module):
    """Scores of the next token for all tokens."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, ids):
        return self.network(input_ids=ids, use_cache=False).logits.reshape(-1, WORDS)


class Classifier(nn.Module):
    """Scores of sentences whose padding is hidden."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, ids):
        return self.network(input_ids=ids, attention_mask=(ids != 0).long()).logits


class Translator(nn.Module):
    """Scores of the next token of a sentence, given another one."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, source, target):
        outputs = self.network(input_ids=source, decoder_input_ids=target, use_cache=False)
        return outputs.logits.reshape(-1, WORDS)


class Listener(nn.Module):
    """Scores of the mean of what an encoder of sound returns."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.out = encoder, nn.Linear(16, CLASSES)

    def forward(self, features):
        return self.out(self.encoder(features).last_hidden_state.mean(1))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(
        vocab_size=WORDS, n_positions=16, n_embd=16, n_layer=2, n_head=2, **drops, **tokens(None)
    )
    return LanguageModel(GPT2LMHeadModel(config))


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=WORDS, intermediate_size=32, num_key_value_heads=1, **SIZES, **tokens(None)
    )
    return LanguageModel(LlamaForCausalLM(config))


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    drops = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    config = BertConfig(
        vocab_size=WORDS,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=CLASSES,
        **SIZES,
        **drops,
    )
    return Classifier(BertForSequenceClassification(config))


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=WORDS,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    return Translator(T5ForConditionalGeneration(config))


def whisper():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=8,
        max_source_positions=6,
        dropout=0.0,
    )
    return Listener(WhisperEncoder(config))


def vit():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=CLASSES
    )


def resnet18():
    from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        """With an eighth of the channels."""

        def _make_layer(self, block, planes, *args, **options):
            return super()._make_layer(block, planes // 8, *args, **options)

    module = Narrow(BasicBlock, [2, 2, 2, 2])
    module.fc = nn.Linear(64, CLASSES)
    return module


def tokens(value):
    """Special tokens, which small vocabularies do not have."""
    return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), value)


def two_sentences(rng, key):
    return (*sentences(rng, key), *sentences(rng, key))


def each_array(key):
    return key


LIBRARIES = [
    Network("GPT-2 (transformers)", gpt2, sentences, (6, 4), rows=every_token),
    Network("Llama (transformers)", llama, sentences, (6, 4), rows=every_token),
    Network("BERT (transformers)", bert, sentences, (6, 4)),
    Network("T5 (transformers)", t5, two_sentences, (6, 4), rows=every_token),
    Network("Whisper encoder (transformers)", whisper, one_size(8, 12), (6, 4), rows=each_array),
    Network("ViT (timm)", vit, one_size(3, 16, 16), (6, 4), rows=each_array),
    Network(
        "ResNet18 (torchvision)",
        resnet18,
        pictures,
        (64, 48),
        tolerance=1e-4,
        learning_rate=1e-3,  # with more, a change of 1e-7 grows to 1e-2 in five steps of PyTorch
    ),
]
