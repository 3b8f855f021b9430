"""CAP messages of our own making for the tests, and ways to bend them."""

CAP = "urn:oasis:names:tc:emergency:cap:1.2"

BODY = f"""<alert xmlns="{CAP}">
  <identifier>FH-2026-0001</identifier>
  <sender>duty@consulate.example</sender>
  <sent>2026-03-01T08:00:00+08:00</sent>
  <status>Actual</status>
  <msgType>Alert</msgType>
  <scope>Public</scope>
  <info>
    <language>zh-CN</language>
    <category>Met</category>
    <event>台风</event>
    <urgency>Expected</urgency>
    <severity>Severe</severity>
    <certainty>Likely</certainty>
    <expires>2026-03-02T08:00:00+08:00</expires>
    <headline>台风橙色预警</headline>
    <area>
      <areaDesc>马尼拉湾</areaDesc>
      <polygon>14.0,120.5 14.9,120.5 14.9,121.2 14.0,120.5</polygon>
      <circle>14.5,120.9 30</circle>
      <altitude>0</altitude>
      <ceiling>300.5</ceiling>
    </area>
  </info>
</alert>"""


def message(*changes: tuple[str, str]) -> bytes:
    """The message with each (old, new) replaced; an old text that is not there is a mistake in the test."""
    text = BODY
    for old, new in changes:
        if old not in text:
            raise AssertionError(old)
        text = text.replace(old, new)
    return text.encode()
