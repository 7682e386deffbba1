"""Chat templates of the most used model families: both texts are in the prompt, and the answer comes next.

The fixtures follow each family's format; they are not copies of its files.
"""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from recsys.errors import ModelError
from recsys.prompting.chat import chat_frame

EACH = "{% for m in messages %}"
END = "{% endfor %}"
GENERATE = "{% if add_generation_prompt %}"
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
ALTERNATE = (
    EACH
    + "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    + "{{ raise_exception('Roles must alternate') }}{% endif %}"
    + END
)
CHATML = EACH + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n" + END
TEMPLATES = {
    "chatml (SmolLM2, Yi)": CHATML + GENERATE + "<|im_start|>assistant\n{% endif %}",
    "qwen 2.5": "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are Qwen.<|im_end|>\n{% endif %}"
    + CHATML
    + GENERATE
    + "<|im_start|>assistant\n{% endif %}",
    "qwen 3": CHATML
    + GENERATE
    + "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    + "<think>\n\n</think>\n\n{% endif %}{% endif %}",
    "deepseek r1": "{{ bos_token }}{% set ns = namespace(system='') %}"
    + EACH
    + "{% if m['role'] == 'system' %}{% set ns.system = m['content'] %}{% endif %}"
    + END
    + "{{ ns.system }}"
    + EACH
    + "{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}{% endif %}"
    + END
    + GENERATE
    + "<|Assistant|><think>\n{% endif %}",
    "llama 3": "{{ bos_token }}"
    + EACH
    + "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    + END
    + GENERATE
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "llama 2": "{% if messages[0]['role'] == 'system' %}"
    "{% set text = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' "
    "+ messages[1]['content'] %}{% else %}{% set text = messages[0]['content'] %}{% endif %}"
    "{{ bos_token }}[INST] {{ text | trim }} [/INST]",
    "mistral 0.1": "{{ bos_token }}" + ALTERNATE + EACH + "[INST] {{ m['content'] }} [/INST]" + END,
    "mistral 0.3": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}[INST] {% if loop.last and system is defined %}{{ system }}\n\n{% endif %}"
    "{{ m['content'] }}[/INST]" + END,
    "gemma 2": "{{ bos_token }}"
    + NO_SYSTEM
    + EACH
    + "<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    + END
    + GENERATE
    + "<start_of_turn>model\n{% endif %}",
    "gemma 3": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}<start_of_turn>user\n{{ first if loop.first }}"
    "{{ m['content'] | trim }}<end_of_turn>\n" + END + GENERATE + "<start_of_turn>model\n{% endif %}",
    "phi 3": EACH
    + "<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n"
    + END
    + GENERATE
    + "<|assistant|>\n{% endif %}",
    "command r": "{{ bos_token }}"
    + EACH
    + "<|START_OF_TURN_TOKEN|><|{{ m['role'] | upper }}_TOKEN|>{{ m['content'] }}<|END_OF_TURN_TOKEN|>"
    + END
    + GENERATE
    + "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
    "parts (multimodal)": EACH
    + "<|{{ m['role'] }}|>{% for part in m['content'] %}{{ part['text'] }}{% endfor %}<|end|>"
    + END
    + GENERATE
    + "<|assistant|>{% endif %}",
    "harmony (gpt-oss)": EACH
    + "<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>"
    + END
    + GENERATE
    + "<|start|>assistant{% endif %}",
}
WITH_BOS = (
    "deepseek r1",
    "llama 3",
    "llama 2",
    "mistral 0.1",
    "mistral 0.3",
    "gemma 2",
    "gemma 3",
    "command r",
)


def tokenizer_with(template: str | None) -> Any:
    plain = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    load: Any = PreTrainedTokenizerFast  # its constructor has no types
    loaded = load(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>")
    loaded.chat_template = template
    return loaded


@pytest.mark.parametrize("system", ["Judge films.", ""])
@pytest.mark.parametrize("family", TEMPLATES)
def test_both_texts_are_in_the_prompt_once(family: str, system: str) -> None:
    frame = chat_frame(tokenizer_with(TEMPLATES[family]), system)
    whole = f"{frame.before}Alien?{frame.after}"
    assert whole.count("Alien?") == 1
    if system:
        assert whole.count(system) == 1
        assert whole.index(system) < whole.index("Alien?")
    assert "\N{OBJECT REPLACEMENT CHARACTER}" not in whole
    assert whole.startswith("<s>") == (family in WITH_BOS)
    assert whole.count("<s>") <= 1


@pytest.mark.parametrize("family", TEMPLATES)
def test_no_thought_is_open_where_the_answer_is_read(family: str) -> None:
    after = chat_frame(tokenizer_with(TEMPLATES[family]), "Judge films.").after
    assert after.count("<think>") == after.count("</think>")
    if family == "harmony (gpt-oss)":
        assert after.endswith("<|channel|>final<|message|>")


@pytest.mark.parametrize("family", ["gemma 2", "mistral 0.1"])
def test_a_family_without_a_system_turn_reads_the_instructions_in_the_users(family: str) -> None:
    frame = chat_frame(tokenizer_with(TEMPLATES[family]), "Judge films.")
    assert frame.before.endswith("Judge films.\n\n")


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no chat') }}", "nothing", "{{ messages[0]['content'] }}{{ messages", ""]
)
def test_a_template_that_cannot_be_used_is_an_error_or_none_at_all(template: str) -> None:
    if not template:
        assert chat_frame(tokenizer_with(None), "S").before == "S\n\n"
        return
    with pytest.raises(ModelError, match="chat template") as caught:
        chat_frame(tokenizer_with(template), "Judge films.")
    assert caught.value.hint
