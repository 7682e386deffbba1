"""Texts to mask, marked as {kind:text}, and texts that must stay as they are."""

from __future__ import annotations

NAMES = ("Ann Lee", "Ann", "Lee", "Zoë Müller-Ortega", "Siobhán O'Neill", "Иван Петров", "李小龙")

POSITIVES = """
{mail:ann@example.com}
write to {mail:ann.lee@example.co.uk}, please
my address is {mail:ann+films@mail.example.org}.
({mail:a@b.io})
<{mail:first_last@sub.domain.example.de}>
mail:{mail:x1@example.museum}
{mail:ANN@EXAMPLE.COM} or nothing
"{mail:o'neill@example.ie}" is where I read
{mail:zoë@exämple.fr}
{mail:иван@пример.рф}
{mail:ann (at) example (dot) com}
{mail:ann[at]example[dot]org} for tips
{mail:ann(at)example.net}
/films?mail={mail:ann@example.com}&page=2
send {mail:a-b-c@x-y-z.example.info};thanks
{mail:1234567890@example.com} is a number as a name
two: {mail:a@example.com} and {mail:b@example.com}
{mail:ann＠example.com} with a wide sign
recommend like you did for {mail:bob@cinema.example}
https://example.com/?user={mail:ann@example.com}
call {phone:+1 612 555 0143}
call {phone:+1 212-736-5000} tonight
{phone:+12127365000}
{phone:(212) 736-5000}
{phone:212-736-5000}
{phone:212.736.5000}
{phone:2127365000}
my cell: {phone:1-800-356-9377}
{phone:+44 20 7946 0958}
{phone:+44 (0)20 7946 0958}
{phone:020 7946 0958}
{phone:07911 123456}
{phone:+49 30 901820}
{phone:030 901820}
{phone:0049 30 901820}
{phone:0171 1234567} ruf mich an
{phone:+49 171 1234567}
{phone:+49 (0) 89 636-48018}
{phone:+33 1 42 68 53 00}
{phone:+33142685300}
{phone:+34 912 34 56 78}
{phone:+39 06 6982}
{phone:+41 44 668 18 00}
{phone:+43 1 58858}
{phone:+31 20 570 5200}
{phone:+45 33 92 33 92}
{phone:+46 8 508 828 00}
{phone:+48 22 694 60 00}
{phone:+55 11 2348-9000}
{phone:+61 2 9374 4000}
{phone:+64 4 472 6881}
{phone:+7 495 123-45-67}
{phone:+81 3-3580-3311}
{phone:+82 2-730-5800}
{phone:+86 10 6552 9988}
{phone:+91 11 2301 2345}
{phone:+972 2-670-5555}
something for {phone:+1-416-392-2489} and friends
text me: {phone:(312) 744-5000}.
{card:4111 1111 1111 1111}
{card:4111-1111-1111-1111}
{card:4111111111111111}
pay with {card:4012888888881881}
{card:5555 5555 5555 4444}
{card:5105105105105100}
{card:3782 822463 10005} is my Amex
{card:378282246310005}
{card:371449635398431}
{card:6011 1111 1111 1117}
{card:6011000990139424}
{card:3530 1113 3330 0000}
{card:30569309025904}
{card:38520000023237}
{card:4222222222222}
{card:2223 0031 2200 3222}
{card:5019717010103742}
{card:4242 4242 4242 4242}, 12/29, 123
card no.{card:4000056655665556}
{card:6331101999990016}
Visa:{card:4917610000000000}
{iban:DE89 3704 0044 0532 0130 00}
{iban:DE89370400440532013000}
{iban:de89370400440532013000}
refund to {iban:GB82 WEST 1234 5698 7654 32} please
{iban:FR14 2004 1010 0505 0001 3M02 606}
{iban:ES91 2100 0418 4502 0005 1332}
{iban:IT60 X054 2811 1010 0000 0123 456}
{iban:NL91 ABNA 0417 1643 00}
{iban:CH93 0076 2011 6238 5295 7}
{iban:AT61 1904 3002 3457 3201}
{iban:BE68 5390 0754 7034}
{iban:SE45 5000 0000 0583 9825 7466}
{iban:NO93 8601 1117 947}
{iban:DK50 0040 0440 1162 43}
{iban:PL61 1090 1014 0000 0712 1981 2874}
{iban:PT50 0002 0123 1234 5678 9015 4}
{iban:LU28 0019 4006 4475 0000}
{iban:CZ65 0800 0000 1920 0014 5399}
IBAN {iban:DE89-3704-0044-0532-0130-00}.
{ip:192.168.0.1}
{ip:8.8.8.8} asked
from {ip:203.0.113.77}:443
{ip:255.255.255.255}
{ip:2001:db8::8a2e:370:7334}
[{ip:2001:0db8:85a3:0000:0000:8a2e:0370:7334}]
{ip:fe80::1}
{ip:::ffff:192.0.2.128}
I am {name:Ann Lee}
{name:ann} and friends want a comedy
something for {name:LEE}'s birthday
{name:Zoë Müller-Ortega} likes westerns
für {name:zoë müller-ortega}
{name:Siobhán O'Neill}
{name:Иван Петров} любит драмы
{name:李小龙} 喜欢
({name:Ann Lee}, {mail:ann@example.com}, {phone:+1 212 736 5000})
{name:Ann Lee} pays {card:4111 1111 1111 1111} from {ip:198.51.100.7}
""".strip().splitlines()

NEGATIVES = """
Se7en
1984
(500) Days of Summer
(500) Days of Summer (2009)
2001: A Space Odyssey (1968)
2010: The Year We Make Contact
12 Angry Men (1957)
10,000 BC
10 Things I Hate About You
101 Dalmatians (1996)
127 Hours
1408
1917 (2019)
20,000 Leagues Under the Sea (1954)
2012
2046 (2004)
21 Grams
24 Hour Party People
28 Days Later...
300: Rise of an Empire
3:10 to Yuma (1957)
42nd Street (1933)
50/50
54
6 Days 7 Nights
8 1/2 (1963)
8½
8 Mile
9 1/2 Weeks
9 to 5
Apollo 13 (1995)
Area 51
Blade Runner 2049
Fahrenheit 451
Fahrenheit 9/11
Catch-22
District 9
Friday the 13th Part VIII
K-19: The Widowmaker
Ocean's 8
THX 1138
U-571
Zero Dark Thirty
xXx: Return of Xander Cage
S1m0ne
Thir13en Ghosts
M*A*S*H
F9: The Fast Saga
$9.99
Cape Fear (1962)
A Nightmare on Elm Street 3: Dream Warriors (1987)
Mission: Impossible - Dead Reckoning Part One
Star Wars: Episode IV - A New Hope (1977)
The Taking of Pelham 1 2 3
The Taking of Pelham One Two Three
One Hundred and One Nights
Movie 43
Nineteen Eighty-Four
11:14
11'09"01 September 11
13 Ghosts
2 Fast 2 Furious
1,000,000 B.C.
Uvicorn running on http://127.0.0.1:8000
listens on 0.0.0.0 and ::1
16 Blocks, 17 Again, 18 Again
1492: Conquest of Paradise (1992)
1776 (1972)
1941 (1979)
The 39 Steps (1935)
The 7th Voyage of Sinbad
Assault on Precinct 13
Butterfield 8
PT 109
Beverly Hills 90210
Terminator 2: Judgment Day
G.I. Jane
user 196, item 242, rated 3
tt0111161
tt0068646 and tt0468569
id 881250949
881250949, 891717742
timestamp 881250949.0
films of 1990-1999
between 1950 and 1990
1990 1995 2000 2005
from 2001-2010, not 2011-2020
2026-11-24 21:00
2026-11-24T21:00:00+01:00
24.11.2026
11/24/2026 9:05 PM
Friday 21:00
1,682 films and 943 users
100000 ratings
100,000 ratings by 943 users
ISBN 978-3-16-148410-0
978-0-306-40615-7
EAN 4006381333931
ZIP 55405
55405-1234
44.9778, -93.2650
44.9778 -93.2650
50 km, 21:30, 12 people
$1,234,567.89
0.2810 [0.2701, 0.2919]
version 1.2.3
3.14159265358979
1234567890123456
4111 1111 1111 1112
5555-5555-5555-4445
9999 9999 9999 9999
0000 0000 0000 0000
DE00 3704 0044 0532 0130 00
GB00WEST12345698765432
movies@abc123def456
movies@0123456789ab
@home (2010)
meet @ 9.30
dinner @ Joe's. Then a film
a@b
user@localhost
http://example.com/films?page=2
3:2 or 16:9
12:30:45
256.300.1.1
1.2.3.4.5
std::vector
Annie Hall (1977)
Leela and Leeds
Annabelle
sha256 9f86d081884c7d659a2feaa0c55ad015
550e8400-e29b-41d4-a716-446655440000
7 8 9 10 11 12 13 14 15 16
Route 66
Studio 54, Stage 9, Terminal 5
something funny for 2 adults and 3 children under 12
""".strip().splitlines()
