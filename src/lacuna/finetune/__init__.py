"""Stage finetune: ResNet50 and BERT tuned on the train split before extraction."""
