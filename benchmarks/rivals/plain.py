"""The rival that a tutorial writes: a FastAPI endpoint that calls the transformers text-classification pipeline.

``python benchmarks/rivals/plain.py MODEL_DIR --port N --threads N``; torch in float32. The starter pools mean and
maximum, which no class of transformers does, so the model is its BERT encoder with our head.
"""

import argparse
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoConfig, AutoTokenizer, BertModel, BertPreTrainedModel, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanMaxClassifier(BertPreTrainedModel):
    """An encoder, and a linear layer over mean and maximum of its last states."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.head = torch.nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SequenceClassifierOutput:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        largest = (hidden + (1 - mask) * torch.finfo(hidden.dtype).min).amax(1)
        return SequenceClassifierOutput(logits=self.head(torch.cat([mean, largest], dim=-1)))


class Comment(BaseModel):
    """What is asked."""

    comment_text: str


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = MeanMaxClassifier.from_pretrained(arguments.model, config=AutoConfig.from_pretrained(arguments.model))
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    classify = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, top_k=None, device="cpu")
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(comment: Comment) -> dict[str, dict[str, float]]:
        (found,) = classify([comment.comment_text], truncation=True, function_to_apply="sigmoid")
        return {"scores": {one["label"]: one["score"] for one in found}}

    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
