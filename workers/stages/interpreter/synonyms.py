"""What people say in place of the English words that names of intents are made of. Pure.

Written by hand, for the verbs and nouns of voice assistants and service desks: other wordings, or what such a request
is about. The general sense of a word stands here, never the sense that it has in one set of labels.
"""

#: A word or two → its alternatives, in lower case.
_LINES = """
turn on: switch on, activate, power on
turn off: switch off, deactivate, shut off
switch on: turn on, activate
switch off: turn off, deactivate
enable: turn on, activate
disable: turn off, deactivate
activate: turn on, start
deactivate: turn off, stop
toggle: switch, turn on or off
start: begin, launch, run
launch: start, open, run
run: start, execute
stop: end, quit, halt
end: stop, finish
cancel: stop, call off, I no longer want
abort: cancel, stop
pause: hold, interrupt, stop for a moment
unpause: resume, continue
resume: continue, go on with, unpause
continue: go on, resume, carry on
restart: start again, reboot
reboot: restart, start again
shutdown: turn off, power down
snooze: later, a few more minutes
next: skip, go to the next, the following
skip: next, go past
forward: ahead, further
rewind: back, to the beginning
previous: go back, the last one, again
back: return, previous
repeat: again, once more, what did you say
shuffle: random order, mix
increase: raise, add to, more, turn up
decrease: lower, reduce, less, turn down
raise: increase, turn up, lift
lower: decrease, turn down, reduce
reduce: decrease, lower, less
up: raise, more, higher
down: lower, less
louder: turn up the sound, too quiet
quieter: turn down the sound, too loud
dim: darker, lower the light
brighten: brighter, more light
set: change, adjust, put to
change: edit, update, switch to another
update: change, correct, renew
modify: change, edit
upgrade: move to a better, get more, switch to a higher
downgrade: move to a cheaper, switch to a smaller
renew: extend, continue
extend: make longer, more time
adjust: set, change
get: tell me, what is, show me
show: display, let me see, what is
view: show, see
display: show, let me see
list: tell me all, read out, what are the
read: read out, tell me, say aloud
check: look at, tell me, is there
status: how is it going, how much is left, is it done, state
state: status, what is it doing
progress: how far, status
query: ask, what is
ask: question, what is
tell: say, inform
say: tell, speak
speak: talk, say
talk: speak, conversation
find: search for, where is, look for
search: find, look for, look up
lookup: find, search for
look up: search for, find
locate: find, where is
browse: look through, search
select: choose, pick
choose: pick, select
recommend: suggest, what should I
recommendation: suggestion, what should I, something good
suggest: recommend, what should I
compare: difference between, which is better
play: listen to, put on, hear
listen: hear, play
hear: listen to, play
watch: see, look at
record: tape, capture
add: put, include, insert
append: add, put
include: add, put in
insert: add, put
remove: delete, take off, take out
delete: remove, erase, get rid of
clear: empty, remove everything from
empty: clear, remove everything from
create: make, new, write down
make: create, do
new: create, another
edit: change, correct
rename: change the name
move: shift, put elsewhere
copy: duplicate, again
save: keep, store
share: send, show to others
download: get, save
upload: send, add
install: set up, add
connect: link, join
disconnect: unlink, leave
pair: connect, link
sync: update, bring up to date
scan: read, look for
print: on paper, hard copy
test: try, check
report: tell about, notify
book: reserve, make a reservation, arrange
booking: reservation, reserve
reserve: book, hold
reservation: booking, table, seat
reschedule: move, postpone, another time
confirm: yes, agree, make sure
deny: no, refuse
accept: yes, agree, take
reject: refuse, decline
decline: refuse, reject
approve: agree, allow
rate: give stars, give points, score
rating: stars, points, score
review: rate, give an opinion on
like: love, enjoy
dislike: do not like, hate
buy: order, get, purchase
purchase: buy, order
order: purchase, buy
sell: offer, get rid of
pay: settle, transfer money for
refund: money back, pay back, reimburse
return: send back, give back
exchange: swap, change for another
send: deliver, write
reply: answer, respond
answer: reply, respond, take the call
forward message: pass on
call: phone, ring, dial
dial: call, phone
hang up: end the call
message: text, note
text: message, write to
mail: email, letter, message
email: mail, message
post: publish, share
open: unlock
close: shut
lock: close, secure
unlock: open
arm: secure, turn on the alarm
disarm: turn off the alarm
help: assist, support, what can you do
support: help, assist
explain: what does it mean, tell me about
translate: say in another language, how do you say
convert: change into, how much is it in
conversion: convert, how much is it in
calculate: compute, how much is, work out
calculator: calculate, how much is, sum, times, divided by
math: calculate, sum, plus, times
definition: define, what is the meaning of, what does it mean
define: what is the meaning of, what does it mean
meaning: what does it mean, define
spelling: how do you spell
spell: how do you write
synonym: another word for
remind: do not forget, remember
reminder: remind me, remember, do not forget
forget: never mind, do not keep
timer: countdown, minutes
alarm: wake me up, alarm clock
calendar: appointments, schedule, events
schedule: plan, timetable, appointments
agenda: schedule, plan for the day
appointment: meeting, visit
meeting: appointment, conference
event: show, occasion, appointment
todo: tasks, things to do
to do: tasks, things I have to do
task: job, thing to do
note: write down, memo
time: what time is it, clock, hour
date: day, what day is it
timezone: time in another place
holiday: day off, vacation
birthday: born, date of birth
weather: forecast, rain, temperature outside, sunny
forecast: weather, prediction
temperature: degrees, warm, cold
climate: temperature, heating, air conditioning
humidity: damp, dry air
heating: warm, heater, temperature
cooling: cold, air conditioning
thermostat: temperature, heating
fan: ventilator, air
light: lamp, brightness
lights: lamps, lighting
lamp: light
brightness: light, bright, dim
color: red, blue, green
colour: red, blue, green
volume: loud, quiet, sound
mute: silence, no sound
unmute: sound back on
music: song, album, artist, track
song: track, music, tune
track: song, tune
artist: singer, band
album: record, songs
playlist: list of songs, collection of music
podcast: episode, show
audiobook: book read aloud, chapter
radio: station, broadcast
station: channel, stop
channel: programme, station
media: music, video, song, TV
video: clip, film
tv: television, show
movie: film, cinema
film: movie, cinema
screening: showing of a film, movie at the cinema
cinema: film, movie theatre
theater: stage, play
series: show, episode
game: play, match
sports: match, team, score
sport: match, team, score
score: result, points
news: headlines, what happened
joke: something funny, make me laugh
fact: something interesting, did you know
story: tale, tell
trivia: quiz, question
greeting: hello, hi, good morning, how are you
greet: hello, hi, good morning
hello: hi, good morning
goodbye: bye, see you later
bye: goodbye, see you later
thanks: thank you
thank you: thanks
yes: okay, that is right
no: do not, wrong
chitchat: how are you, who are you
smalltalk: how are you, who are you
bot: robot, who are you
restaurant: table, place to eat, dinner
food: meal, dish, eat
menu: dishes, what is there to eat
recipe: how to cook, ingredients
ingredients: what do I need, substitute
cook: prepare, make food
cooking: prepare, make food
nutrition: vitamins, healthy, protein
calories: how many calories, diet
takeaway: food to go, delivery
coffee: espresso, cup
drink: beverage, cup
shopping list: groceries, things to buy
shopping: groceries, buy
grocery: food, things to buy
store: shop, supermarket
shop: store, supermarket
product: item, article
price: cost, how much
cost: price, how much
discount: cheaper, coupon, sale
stock: available, share price
travel: trip, journey, holiday
trip: journey, travel
flight: plane, ticket to fly, airline
airport: plane, terminal
hotel: room, place to stay
room: bedroom, place
ticket: seat, admission
taxi: cab, ride
ride: lift, cab
uber: taxi, ride
transport: bus, train, taxi
train: railway, rail ticket
bus: coach, public transport
car: vehicle, drive
rental: hire, rent
luggage: bag, suitcase
passport: travel document, visa
visa: permit to enter a country
vaccine: shots before a trip
traffic: congestion, traffic jam, busy road
navigation: directions, route, way to
navigate: directions to, drive to, guide me
directions: route, how do I get to, way
route: way, directions
distance: how far, miles
map: where is, route
location: place, where
parking: park the car, car park
fuel: gas, petrol, tank
gas: fuel, petrol
charging: charge, plug in
battery: charge, power left
tire: tyre, wheel
oil: engine oil
maintenance: service, repair
repair: fix, broken
smart home: lights, heating, appliances at home
iot: smart home, appliances at home
device: appliance, machine
door: gate, entrance
garage: car door, gate
window: glass, pane
cover: blind, shutter, curtain
curtain: drapes, blind
blind: shutter, curtain
vacuum: clean the floor, robot cleaner
cleaning: clean, tidy up
laundry: washing, clothes
water: tap, pour
oven: stove, bake
preheat: heat up, warm up
boil: heat water, make hot
camera: picture, video
photo: picture, image
picture: photo, image
account: profile, login
profile: account, personal data
register: sign up, create an account
signup: register, create an account
login: sign in, log in
logout: sign out, log out
password: login, passcode
pin: code, secret number
reset: start over, forgot, restore
verify: check, prove
identity: who I am, identification
fraud: suspicious, did not make this payment, stolen
lost: cannot find, missing
stolen: theft, taken
blocked: frozen, cannot use
block: freeze, stop
invoice: bill, receipt
receipt: invoice, proof of payment
bill: invoice, amount to pay
billing: invoice, charged
balance: how much money, account
transaction: payment, what did I spend
spending: how much did I spend, expenses
transfer: send money, move
deposit: put money in, pay in
withdraw: take out cash, cash machine
withdrawal: take out cash, cash machine
payment: pay, money, charge
fee: charge, cost
charge: fee, cost
currency: euros, dollars, exchange rate
credit: loan, borrow
loan: borrow, credit
mortgage: home loan
interest: rate of return, percent
tax: taxes, deduct
insurance: cover, policy, premium
salary: pay, income, wages
income: earnings, salary
budget: spending limit, money left
card: credit card, bank card
bank: branch, account
address: street, where I live, place
phone: telephone, mobile
number: digits, phone
delivery: package, parcel, shipping
shipping: delivery, parcel
shipment: delivery, parcel
package: parcel, delivery
tracking: where is it, track
track order: where is my order
missing: not there, lost
damaged: broken, faulty
cancellation: cancel, call off
subscription: plan, membership, contract
membership: member, subscription
plan: tariff, subscription
warranty: guarantee, repair
human: person, real person, somebody
agent: representative, employee, staff
operator: person, agent
representative: agent, employee
customer service: support, agent
contact: person, get in touch with
person: someone, human
friend: buddy, mate
complaint: not satisfied, bad service, problem
feedback: opinion, comment
problem: does not work, broken, error
issue: problem, does not work
error: problem, failure
bug: error, does not work
internet: wifi, network, connection
wifi: wireless, internet
network: internet, connection
software: program, app
app: program, application
hours: opening times, when are you open
opening hours: when are you open, closing time
doctor: physician, medical
medicine: pills, drug, medication
symptom: pain, feel ill
health: illness, well
emergency: urgent, danger, help me
job: work, position
leave: day off, absence, go away
step: instruction, stage
instructions: how to, steps
unit: measure, grams, miles, metres
measurement: how much, how many
quantity: how many, amount
"""

#: Word or two words → alternatives.
SYNONYMS = {
    word: tuple(said.split(", ")) for word, _, said in (line.partition(": ") for line in _LINES.strip().splitlines())
}


def alternatives(name: str) -> tuple[str, ...]:
    """The name with one of its words replaced, once for each alternative: `search event` → `find event`, ...

    Two words with a line of their own count as one. `name` is words in lower case, separated by single spaces.
    """
    words, parts = name.split(" "), list[str]()
    while words:
        taken = 2 if " ".join(words[:2]) in SYNONYMS else 1
        parts.append(" ".join(words[:taken]))
        words = words[taken:]
    return tuple(
        " ".join([*parts[:place], said, *parts[place + 1 :]])
        for place, part in enumerate(parts)
        for said in SYNONYMS.get(part, ())
    )
