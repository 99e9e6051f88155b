"""The one decoder of text files. In: bytes of a label table, transcript, post or word times. Out: text, or a refusal.

Text is utf-8 (or utf-16 or utf-32 with its mark), or Chinese in gb18030, which is believed only where what comes out
reads as Chinese: nearly any bytes can be read as gb18030, and those of Western, Japanese and Korean code pages become
rare hanzi. Anything else is refused with its line, a sample and what it may be, or read in the encoding that the user
names. charset-normalizer supplies the guess in that message alone: on short texts it is wrong too often to be obeyed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from pathlib import Path

from lacuna.types import MalformedInput

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GUESSES = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "euc_jp", "cp949", "big5", "koi8_r")
_IN_A_WORD = re.compile("(?<=[A-Za-z0-9])[\u4e00-\u9fff]|[\u4e00-\u9fff](?=[A-Za-z0-9])")
_SHOWN = 40  # characters of a sample
# ESC begins the shifts of ISO-2022-JP and its kin, whose bytes are all ASCII; NUL is half of a utf-16 character.
_NO_TEXT = re.compile("[\0\x1b]")
# The shifts of utf-7 and hz, which are all ASCII too; "+yes" and "+Yes" happen to be utf-7, but are words.
_UTF_7 = re.compile(rb"\+(?![A-Z]?[a-z]+\b|[A-Z]+\b)([A-Za-z0-9+/]{3,})")
_HZ = re.compile(rb"~\{((?:[!-w][!-~])+)~\}")
_USUAL = re.compile("[\t-\r -~\u00a0-\u1fff\u2010-\u2026\u3000-\u30ff\uac00-\ud7a3]")

_REPLACED = re.compile(r"[^\s,;\t]*\ufffd[^\s,;\t]*")  # what a decoder writes for bytes that it cannot read
_ESCAPED = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6}|#x[\da-fA-F]{1,5});")

# Utf-8 that was read as cp1252 and saved again: "trÃ¨s", "donâ€™t", "Ð¿Ñ€Ð¸", "æˆ‘å¾ˆ".
_HIGH = "[" + re.escape(bytes(range(0x80, 0xC0)).decode("cp1252", "ignore")) + "\x81\x8d\x8f\x90\x9d]"
_TWICE = re.compile(rf"\S*(?:(?:[ÂÃ]|â€){_HIGH}|(?:[Ä-ß]{_HIGH}){{2,}}|(?:[à-ï]{_HIGH}{{2}}){{2,}})\S*")

# About the 700 most frequent characters of simplified Chinese, speech and reviews first: 85 % of running text, and a
# sixth of the characters that bytes of other code pages come to.
_FREQUENT = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明"
    "性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位"
    "次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感"
    "建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色"
    "路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笑爱快乐喜欢吃喝影片剧演哭谢请吗吧呢啊哈"
    "嗯哦呀您妈爸孩朋友怕错贵累烦丽漂亮讨厌伤悲高兴惊讶愤怒幸福希失败赢输贴差棒值钱买卖店客服菜味道鱼肉饭酒茶糖甜苦辣热冷远近早"
    "晚昨夜午周星岁春夏秋冬花草树林雨雪风云石火土木车船飞机票站街房屋床桌椅衣服鞋帽红黄蓝绿黑灰六七八九零百千半双每另某找坐站跑"
    "跳唱歌舞画写读诉叫喊骂怪病药医院死救帮助拿送收拍照换丢掉忘记住懂猜信怀疑担心害怎谁哪啥嘛咱俩俺诶唉喂轻松简单容易复杂麻烦"
    "清楚准备继续停止始终于突然忽慢急忙闲玩游戏电视视频网络手机脑音响声曲导员主角色故节情景镜喷画质量板产用户体验推荐满足舒适颜质"
    "父母亲哥姐弟妹爷奶叔婚离恋结夫妻男友班级考试校课程老板同事公司职工资钟秒分块毛元角斤米厘层楼号码名字姓李刘陈杨赵黄吴孙朱"
    "越南国际社会经济根究历史英语汉京州广深港台湾省县村农城市园馆店影厅座位久刚才直居竟敢愿须需未曾仅尤甚极挺超蛮够些许若虽除"
    "永独留响支持习惯格笑泪哀低调整段落差距象级随便假真坏死烂丑帅酷萌赞顶踩嘿哎哇咦嘻呜"
)
_CHINESE_MARKS = frozenset("—…‘’“”、。《》【】·～，！？：；（）￥")
_ENOUGH = 4.0  # log odds; three frequent characters, or one mark, and nothing that speaks against them
_MOST, _MANY = 0.75, 20  # share and number of a folder's texts that settle the encoding of the others


def read(path: Path, encoding: str = "", setting: str = "prepare.encoding") -> str:
    """A file's text; MalformedInput where it is in an encoding that is neither known to be right nor named."""
    return decode(Path(path).read_bytes(), str(path), encoding, setting=setting)[0]


def decode(
    data: bytes, name: str, encoding: str = "", *, cut: bool = False, setting: str = "prepare.encoding"
) -> tuple[str, str]:
    """(text, its encoding) of bytes; with `cut` they may end within a character, which is dropped.

    `encoding`, if not "", is that of bytes that are not utf-8. MalformedInput names the line, a sample and the
    `setting` that tells the encoding.
    """
    for found in _candidates(data, encoding):
        text = _strictly(data, found, cut)
        if text is None or _NO_TEXT.search(text) or (found == "utf-8-sig" and _is_shifted(data)):
            continue
        if encoding or found != "gb18030" or reads_chinese(text):
            return text.replace("\ufeff", ""), found  # marks stand within files that were joined, too
    raise MalformedInput(f"{name}: {_refusal(data, encoding, setting)}")


def encoding_of(texts: Iterable[bytes]) -> str:
    """gb18030 where most of a folder's texts that are not utf-8 read as Chinese by themselves, else "".

    Such folders come from one machine, and its few Japanese or accented texts do not read as Chinese alone.
    """
    odd = [data for data in texts if _strictly(data, "utf-8", cut=True) is None]
    chinese = [reads_chinese(_strictly(data, "gb18030", cut=True) or "") for data in odd]
    return "gb18030" if sum(chinese) >= max(_MANY, _MOST * len(odd)) else ""


def _candidates(data: bytes, encoding: str) -> list[str]:
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if marked is not None:
        return [marked]
    # utf-16 without its mark: every other byte of its ASCII characters is 0, and one of its line ends always is.
    order = "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    return ["utf-8-sig", encoding or (order if b"\0" in data and _is_wide(data, order) else "gb18030")]


def _is_wide(data: bytes, order: str) -> bool:
    """Whether bytes with NULs are utf-16. Of text with a few stray ones, it makes rare hanzi."""
    if _strictly(data.replace(b"\0", b""), "utf-8", cut=False) is None:
        return True
    text = _strictly(data, order, cut=True) or ""
    return 2 * sum(bool(_USUAL.match(c)) or c in _FREQUENT for c in text) > len(text)


def _is_shifted(data: bytes) -> bool:
    """Whether ASCII bytes are another encoding's: utf-7 or hz, which write other letters by ASCII ones."""
    if not data.isascii():
        return False
    return any(map(_is_hanzi, _HZ.findall(data))) or any(map(_is_utf_7, _UTF_7.findall(data)))


def _is_hanzi(shifted: bytes) -> bool:
    return _strictly(bytes(byte | 0x80 for byte in shifted), "gb2312", cut=False) is not None


def _is_utf_7(shifted: bytes) -> bool:
    text = _strictly(b"+" + shifted + b"-", "utf-7", cut=False)
    return bool(text) and all(not character.isascii() and character.isprintable() for character in text or "")


def garbled(text: str) -> str:
    """The first word that was read in a wrong code page before it was saved as utf-8; "" where none looks like it."""
    found = _TWICE.search(text) or _REPLACED.search(text)
    return found[0][:_SHOWN] if found else ""


def escaped(text: str) -> str:
    """The first word with a character escaped as HTML does it (&amp;); "" where there is none."""
    found = _ESCAPED.search(text)
    return found[0][:_SHOWN] if found else ""


def _strictly(data: bytes, encoding: str, cut: bool) -> str | None:
    """The text, or None where the bytes are not in this encoding."""
    try:
        codec = codecs.lookup(encoding)
        if not getattr(codec, "_is_text_encoding", True):
            raise LookupError
        decoder = codec.incrementaldecoder()
        text = decoder.decode(data, not cut)  # not final: it keeps back a character that the end cuts short
    except (LookupError, TypeError) as error:
        raise MalformedInput(f"encoding: expected one that Python knows (cp1252, big5 …), got {encoding!r}") from error
    except UnicodeDecodeError:
        return None
    # With a cut end, only characters beyond ASCII say that it was this encoding.
    return None if cut and decoder.getstate()[0] and text.isascii() else text


def reads_chinese(text: str) -> bool:
    """Whether characters beyond ASCII that came of gb18030 are those of Chinese writing, by their frequencies."""
    if any(not _in_gb2312(match[0]) for match in _IN_A_WORD.finditer(text)):
        return False  # a rare character beside a letter: a stray byte that has swallowed another letter
    return sum(_evidence(character) for character in text if not character.isascii()) >= _ENOUGH


def _evidence(character: str) -> float:
    """Log odds that a character stands in Chinese text, against one that another code page's bytes came to."""
    if character in _CHINESE_MARKS:
        return 4.0
    if character in _FREQUENT:
        return 1.6
    if "\u4e00" <= character <= "\u9fff":
        return -1.4 if _in_gb2312(character) else -3.0
    if "\u3040" <= character <= "\u30ff" or "\ue000" <= character <= "\uf8ff":
        return -5.0  # kana, which EUC-JP has in the same place; private use
    return 1.0 if character >= "\U0001f300" else -1.0


def _in_gb2312(character: str) -> bool:
    first, second = character.encode("gb18030")[:2]
    return 0xB0 <= first <= 0xF7 and second >= 0xA1


def _refusal(data: bytes, encoding: str, setting: str) -> str:
    number, line = _first_odd_line(data, encoding or "utf-8")
    if encoding:
        return f"line {number}: expected {encoding}, as {setting} says, got {line[:_SHOWN]!r}"
    if b"\0" in line and _strictly(line.replace(b"\0", b""), "utf-8", cut=False) is not None:
        at = max(0, line.index(0) - _SHOWN // 2)
        return f"line {number}: expected utf-8, got a NUL byte in {line[at : at + _SHOWN]!r} (is the file damaged?)"
    perhaps, sample = _guess(data, line)
    return (
        f"line {number}: expected utf-8, got another encoding ({perhaps}: {sample.strip()[:_SHOWN]!r}): "
        f"save it as UTF-8 ('CSV UTF-8' in spreadsheets), or set {setting} to what it is"
    )


def _guess(data: bytes, line: bytes) -> tuple[str, str]:
    """What the encoding may be, in words, and the line in it; of several that read alike the most usual one."""
    if line.isascii() and not _NO_TEXT.search(line.decode("ascii")):
        name = "hz" if _HZ.search(line) else "utf-7"
        return f"perhaps {name}", line.decode(name, "replace")
    from charset_normalizer import from_bytes

    guess = from_bytes(data[: 1 << 16], cp_isolation=list(_GUESSES)).best()
    if guess is None:
        return "unknown", line.decode("latin-1")
    sample = line.decode(guess.encoding, "replace")
    return f"perhaps {next(name for name in _GUESSES if line.decode(name, 'replace') == sample)}", sample


def _first_odd_line(data: bytes, encoding: str) -> tuple[int, bytes]:
    """Number and bytes of the first line that is not in the encoding, or the first one beyond ASCII."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if _strictly(line, encoding, cut=False) is None or _NO_TEXT.search(line.decode("latin-1")) or _is_shifted(line):
            return number, line
    return 1, lines[0]
