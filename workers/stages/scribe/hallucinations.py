"""Sentences that Whisper hallucinates in audio without words, and the time it takes to say them. Pure.

The model was trained on subtitles, whose last lines (thanks, farewells, credits) often accompany music and applause.
Sources: Barański et al., "Investigation of Whisper ASR Hallucinations Induced by Non-Speech Audio", arXiv 2501.11378,
which proposes such a bag of phrases, and the output of tiny.en on silence and noise. People say most of these sentences
too, so one counts as an invention only if the voice is too short for it.
"""

import re

#: Sentences in lower case, without punctuation.
_BAG = frozenset(
    """
    you|thank you|thank you very much|thank you so much|thanks|thank you all|thank you for your time
    thank you for watching|thanks for watching|thank you for listening|thanks for listening
    thank you so much for watching|thank you all for watching|thank you very much for watching
    thanks so much for watching|thank you so much for listening
    thank you for watching this video|thanks for watching this video
    thank you for watching and see you next time|thanks for watching and see you next time
    please subscribe|please subscribe to my channel|subscribe|like and subscribe|subscribe to my channel
    don't forget to subscribe|don't forget to like and subscribe|hit the bell|see you next time
    see you in the next video|see you in the next one|see you later|we'll be right back
    i'll see you next time|i'll see you in the next video|i'll see you in the next one
    bye|bye bye|goodbye|good night|okay|ok|yeah|oh|ooh|ah|uh|um|hmm|mm|huh|so|well|wow|whoa|woo|hey
    the|the end|and|i'm sorry|i don't know|let's go|mead|music|applause|silence|laughter|music playing
    cheering|clapping|snoring|birds chirping|beep
    upbeat music|foreign|speaking in foreign language|to be continued
    vielen dank|vielen dank fürs zuschauen|danke fürs zuschauen|das war's für heute|bis zum nächsten mal|tschüss
    merci|merci d'avoir regardé cette vidéo|merci à tous|gracias|gracias por ver el video|gracias por ver
    suscríbete|obrigado|obrigado por assistir|grazie|grazie per la visione|grazie a tutti|dziękuję|dziękuję za uwagę
    спасибо|спасибо за просмотр|спасибо за внимание|продолжение следует|пока|до свидания|до новых встреч
    подписывайтесь на канал|ご視聴ありがとうございました|ありがとうございました|おやすみなさい
    谢谢|谢谢观看|谢谢大家|多谢您的观看
    시청해주셔서 감사합니다|감사합니다|다음 영상에서 만나요|izlediğiniz için teşekkür ederim|teşekkürler
    """.strip()
    .replace("\n", "|")
    .replace("    ", "")
    .split("|")
)
#: Sounds that are spelled but no words: "Shh", "Zzz", "Pff", "Mmm", "Haha", "Ooh".
_SOUND = re.compile(r"s+h+|z{2,}|p+f+t?|p+s+t+|h*m{2,}|m+h+m+|b+r{2,}|g+r{2,}|t+s+k+|(?:h[ae]){2,}h?|o{2,}h+|a{2,}h+")
#: Text that occurs only in credit lines.
_CREDIT = re.compile(
    r"amara\.?\s?org|subtitles? by|subtitled by|captions? by|captioned by|transcri(bed|ption) by|sous-titr"
    r"|untertitel (von|der|im)|subtítulos|sottotitoli|legendas|napisy|altyazı|субтитры|редактор субтитров|字幕|자막"
)
#: Minimum duration of any text, and of each letter in a longer one, seconds: 33 letters per second, which no speaker
#: reaches (fast speech has 20).
_WORD_S = 0.12
_LETTER_S = 0.03


def is_invention(text: str) -> bool:
    """Whether the text consists only of sentences that Whisper is known to invent."""
    lower = text.lower().replace("’", "'")
    if _CREDIT.search(lower):
        return True
    sentences = [" ".join(re.sub(r"[^\w' ]+", " ", part).split()) for part in re.split(r"[.!?…。！？]+", lower)]
    said = [sentence for sentence in sentences if sentence]
    return bool(said) and all(sentence in _BAG or _sounds(sentence) for sentence in said)


def _sounds(sentence: str) -> bool:
    return all(_SOUND.fullmatch(word) for word in sentence.split())


def least_s(text: str) -> float:
    """The minimum duration of the text if it was spoken, seconds."""
    return max(_WORD_S, _LETTER_S * sum(char.isalnum() for char in text))
