"""A CrossEncoder of a few dozen kilobytes with random weights: a BERT that scores pairs, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

CORPUS = ["Boats float on water.", "Apples are red and round.", "A lighthouse stands on the rock by the sea.", "红苹果"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make(folder: Path, *, labels: int = 1, head: bool = True) -> Path:
    """Write the model into ``folder``, and return it. Without ``head`` it embeds and cannot score."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=160, special_tokens=SPECIAL, show_progress=False)
    )
    pieces.post_processor = processors.BertProcessing(
        ("[SEP]", pieces.token_to_id("[SEP]")), ("[CLS]", pieces.token_to_id("[CLS]"))
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=96,
        num_labels=labels,
        initializer_range=0.5,  # the usual 0.02 scores everything alike
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = BertForSequenceClassification(config) if head else BertModel(config)
        network.save_pretrained(folder)
    return folder
