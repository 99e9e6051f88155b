"""Text files: which encodings are read, which are noticed, and what the refusal says. Expected values are the texts."""

from __future__ import annotations

import pytest

from lacuna.storage.text import decode, encoding_of
from lacuna.types import MalformedInput

TABLE = "video_id,clip_id,text,label,mode\n{}"
# language: sentences, and the code pages that files of it come in
WRONG = {
    "English": (
        ("I don’t like it", "It’s so good – “really”…", "£50 for that", "a naïve café"),
        ("cp1252", "mac_roman"),
    ),
    "German": (("Das ist schön für mich", "Möchte ich nicht", "ÄÖÜ ÄÖÜ", "Größe"), ("cp1252", "cp850", "iso8859_15")),
    "French": (("Ça m’a plu énormément", "l’été créé réélu", "À bientôt"), ("cp1252", "mac_roman")),
    "Spanish": (("¡Qué niño más simpático!", "¿Cómo estás? ¡Ándale!", "ÑANDÚ"), ("cp1252",)),
    "Polish": (("Zażółć gęślą jaźń", "świetny film"), ("cp1250", "iso8859_2")),
    "Turkish": (("Çok güzel bir şey değil mi",), ("cp1254",)),
    "Russian": (("Мне очень понравился этот фильм", "привет", "ПРИВЕТ ВСЕМ"), ("cp1251", "koi8_r", "cp866")),
    "Greek": (("Μου άρεσε πολύ αυτή η ταινία",), ("cp1253", "iso8859_7")),
    "Hebrew": (("אהבתי את הסרט הזה מאוד",), ("cp1255",)),
    "Arabic": (("أعجبني هذا الفيلم كثيرا",), ("cp1256",)),
    "Thai": (("ฉันชอบหนังเรื่องนี้มาก",), ("cp874",)),
    "Japanese": (("とても良いです", "最悪", "最高", "ｱｲｳｴｵ", "カタカナ"), ("cp932", "euc_jp", "iso2022_jp")),
    "Korean": (("안녕하세요 반갑습니다", "싫어요", "최고의 영화였다"), ("euc_kr", "johab", "iso2022_kr")),
    "Chinese (Taiwan)": (("我很喜歡這部電影，真的很好看", "難看", "謝謝你"), ("big5",)),
}
MEMBERS = [(language, page) for language, (_, pages) in WRONG.items() for page in pages]
CHINESE = (
    "我很高兴，真的",
    "这部电影太好看了",
    "不喜欢",
    "演员演技很好",
    "价格太贵了，不推荐",
    "你怎么了",
    "挺好的",
    "“very good”",
)


def encoded(text: str, page: str) -> bytes | None:
    """The text in a code page; None where it lacks a character, or it is all ASCII there."""
    try:
        data = text.encode(page)
    except UnicodeEncodeError:
        return None
    return None if data.isascii() and b"\x1b" not in data else data


@pytest.mark.parametrize(("language", "page"), MEMBERS)
def test_a_wrong_code_page_is_noticed_with_its_line_and_advice(language, page):
    sentences = WRONG[language][0]
    table = TABLE.format("".join(f"v,{i},{text},1,train\n" for i, text in enumerate(sentences)))
    texts = [table, *sentences, *(TABLE.format(f"v,1,{text},1,train\n") for text in sentences)]
    given = [data for text in texts if (data := encoded(text, page)) is not None]
    assert given
    for data in given:
        with pytest.raises(MalformedInput, match=r"a\.csv: line [12]: expected utf-8, got .*: save it as UTF-8 .*CSV"):
            decode(data, "a.csv")


@pytest.mark.parametrize(("language", "page"), MEMBERS)
def test_who_knows_the_encoding_may_name_it(language, page):
    for text in WRONG[language][0]:
        if (data := encoded(text, page)) is not None:
            assert decode(data, "a.csv", page) == (text, page)
    assert decode("schön".encode(), "a.csv", page)[0] == "schön"  # what is utf-8 stays so, whatever is named


@pytest.mark.parametrize("text", CHINESE)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "gbk"])
def test_chinese_is_read(text, encoding):
    for whole in (text, TABLE.format(f"v,1,{text},1,train\n")):
        assert decode(whole.encode(encoding), "a.csv")[0] == whole


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_utf_16_with_and_without_its_mark(order, mark):
    for text in ("I don’t like it\nна\n好\n", "とても\n", "привет\n", "我很喜欢这部电影\n", "안녕\n", "αγάπη\n"):
        assert decode((mark + text).encode(f"utf-16-{order}"), "a.txt")[0] == text


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfea\0b", "我很".encode("utf-16")[:-1], b"\xef\xbb\xbf\xff", b"\x81"])
def test_what_is_no_text_is_refused(data):
    with pytest.raises(MalformedInput, match=r"a\.txt: line 1: expected utf-8"):
        decode(data, "a.txt")


@pytest.mark.parametrize("name", ["klingon", "base64", "cp99999"])
def test_an_encoding_that_python_lacks_is_named(name):
    with pytest.raises(MalformedInput, match=f"encoding: expected one that Python knows .* got '{name}'"):
        decode(b"\xe4", "a.txt", name)


def test_a_named_encoding_that_does_not_fit_is_told():
    with pytest.raises(MalformedInput, match=r"line 2: expected cp932, as prepare\.encoding says, got b'\\x81"):
        decode(b"ok\n\x81\x20\xff", "a.csv", "cp932")


def test_a_folder_of_gb18030_tells_the_encoding_of_its_few_others():
    chinese = [text.encode("gb18030") for text in CHINESE * 4]
    accented, japanese = "né en été".encode("gb18030"), "カタカナ".encode("gb18030")
    assert encoding_of([*chinese, accented, japanese, b"plain", "schön".encode()]) == "gb18030"
    assert decode(accented, "p.txt", "gb18030", cut=True)[0] == "né en été"
    assert encoding_of([*chinese[:3], accented]) == "" and encoding_of([b"plain"] * 50) == ""
    assert encoding_of([*chinese, *["né en été".encode("cp1252")] * 20]) == ""


ENGLISH = "v,1,so good and then it is fine,1,train\n"


@pytest.mark.parametrize("at", [0, 1, 2, 3, 7, 20])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("text", ["so good", ENGLISH, "这部电影太好看了，我很喜欢\n"])
def test_text_with_a_stray_nul_is_not_taken_for_utf_16(text, at, count):
    """Of even length with a NUL at either place, it is valid utf-16: of rare hanzi."""
    data = text.encode()
    data = data[:at] + b"\0" * count + data[at:]
    if at in (0, 1, 2, 3) and not text.isascii():
        return  # within a character
    with pytest.raises(MalformedInput, match=r"a\.txt: line 1: expected utf-8, got "):
        decode(data * 10, "a.txt")


@pytest.mark.parametrize("page", ["utf-7", "hz"])
@pytest.mark.parametrize(
    "text", ["我很喜欢这部电影", "v,1,好,1,train\nv,2,不好,1,train\n", "c’est très bien", "ça va", "привет"]
)
def test_encodings_that_are_all_ascii_are_noticed_and_read_when_named(text, page):
    try:
        data = text.encode(page)
    except UnicodeEncodeError:
        return  # hz has hanzi alone
    assert data.isascii()
    with pytest.raises(MalformedInput, match=rf"line 1: expected utf-8, got another encoding \(perhaps {page}: '"):
        decode(data, "a.txt")
    assert decode(data, "a.txt", page) == (text, page)


@pytest.mark.parametrize(
    "text",
    [
        "1+1 = 2",
        "C++ and a+b",
        "love it +1",
        "+yes +Yes +YES",
        "me+you",
        "a ~{b}~ c",
        "x ~{ y ~} z",
        "+49 123 456789",
        "+",
        "A+",
    ],
)
def test_plain_ascii_is_no_other_encoding(text):
    assert decode(text.encode(), "a.txt")[0] == text


def test_marks_within_files_that_were_joined_are_no_text():
    assert decode("a\n\ufeffb,\ufeff好\n".encode("utf-8-sig"), "a.txt")[0] == "a\nb,好\n"
