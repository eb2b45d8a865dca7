package main

import (
	"fmt"
	"math/rand"
	"strings"
)

type part struct {
	schema, self string
	expressions  []string
}

func lines(text string) []string {
	out := []string{}
	for _, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) != "" {
			out = append(out, strings.ReplaceAll(line, `\n`, "\n"))
		}
	}
	return out
}

// One of each kind, and some at the ends of their ranges.
var literals = lines(`
null
true
false
0
1
-7
9223372036854775807
-9223372036854775808
0u
3u
18446744073709551615u
0.0
1.5
-2.0
1e300
double('NaN')
double('-Infinity')
''
'a'
'12'
'hello wörld'
b''
b'abc'
b'\xff'
[]
[1, 2, 3]
['a', 'b']
{}
{'a': 1}
{1: 'a', 2: 'b'}
duration('1h30m')
duration('-1.5s')
timestamp('2024-02-29T12:34:56.789Z')
int
optional.of(1)
optional.none()
ip('10.0.0.1')
cidr('10.0.0.0/8')
quantity('1Gi')
semver('1.2.3')
url('https://example.com:8080/a?b=c')
`)

func pick(indices ...int) []string {
	out := []string{}
	for _, i := range indices {
		out = append(out, literals[i])
	}
	return out
}

func operators() []string {
	out := []string{}
	some := pick(0, 1, 4, 6, 9, 12, 15, 18, 22, 25, 28, 30, 32, 34)
	for _, op := range []string{"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"} {
		for _, a := range some {
			for _, b := range some {
				out = append(out, fmt.Sprintf("dyn(%s) %s dyn(%s)", a, op, b))
			}
		}
	}
	n := 0
	for _, op := range []string{"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"} {
		for _, a := range literals {
			for _, b := range literals {
				// Few of those that only tell of types.
				if n++; n%37 == 0 {
					out = append(out, fmt.Sprintf("%s %s %s", a, op, b))
				}
			}
		}
	}
	for _, a := range literals {
		for _, f := range []string{"size(%s)", "type(%s)", "int(%s)", "uint(%s)", "double(%s)", "string(%s)", "bytes(%s)", "bool(%s)",
			"duration(%s)", "timestamp(%s)", "!(%s)", "-(%s)", "size(dyn(%s))", "type(dyn(%s))", "int(dyn(%s))", "uint(dyn(%s))",
			"double(dyn(%s))", "string(dyn(%s))", "bytes(dyn(%s))", "bool(dyn(%s))", "-dyn(%s)", "!dyn(%s)", "(%s) == (%s)",
			"[%s] == [%s]", "has(dyn(%s).a)", "dyn(%s).a", "dyn(%s)[0]", "dyn(%s).?a", "dyn(%s).all(x, true)", "[%s, %s].size()",
			"'%%s'.format([%s])", "optional.ofNonZeroValue(%s)", "dyn(%s).matches('a')", "dyn(%s).startsWith('a')"} {
			out = append(out, strings.ReplaceAll(strings.ReplaceAll(f, "%s", a), "%"+a, "%s"))
		}
	}
	return out
}

var functions = lines(`
'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')
'hello wörld'.size()
'a,b,c'.split(',')
'a,b,c'.split(',', 2)
'a,b,c'.split(',', 0)
'a,b,c'.split(',', 1)
'a,b,c'.split(',', -1)
'wörld'.split('')
'wörld'.split('', 2)
''.split(',')
''.split('')
['a', 'b'].join()
['a', 'b'].join('-')
[].join('-')
'hello'.charAt(1)
'hello'.charAt(5)
'hello'.charAt(6)
'hello'.charAt(-1)
'wörld'.charAt(1)
'hello'.indexOf('l')
'hello'.indexOf('')
'hello'.indexOf('l', 3)
'hello'.indexOf('l', 9)
'hello'.indexOf('l', -1)
'hello'.lastIndexOf('l')
'hello'.lastIndexOf('')
'hello'.lastIndexOf('l', 2)
'hello'.lastIndexOf('x')
'hello'.lastIndexOf('l', -2)
'wörld'.indexOf('ld')
'HeLLo'.lowerAscii()
'HeLLoÖ'.upperAscii()
'hello'.replace('l', 'LL')
'hello'.replace('l', 'L', 1)
'hello'.replace('', '-')
'hello'.replace('', '-', 2)
'hello'.replace('l', 'L', 0)
'hello'.substring(1)
'hello'.substring(1, 3)
'hello'.substring(3, 1)
'hello'.substring(9)
'hello'.substring(-1)
'hello'.substring(1, 9)
'  x y '.trim()
'\u2003x\u00a0'.trim()
strings.quote('a"b\\c\n')
'%s and %d'.format(['x', 5])
'%s'.format([1.5])
'%s'.format([[1, 2u, 1.5, 'x', b'y', true, null]])
'%s'.format([{'b': 1, 'a': [2]}])
'%s'.format([duration('90s')])
'%s'.format([timestamp('2024-01-01T00:00:00Z')])
'%s'.format([int])
'%.2f'.format([3.14159])
'%f'.format([1234567.5])
'%.0f'.format([2.5])
'%e'.format([1234.5])
'%.1e'.format([0.00012])
'%b %b'.format([5, true])
'%o %x %X'.format([8, 255, 255])
'%x %X'.format(['hi', b'hi'])
'%d%%'.format([50])
'%d'.format(['x'])
'%s %s'.format(['x'])
'%s'.format(['x', 'y'])
'%'.format(['x'])
'%q'.format(['x'])
'%.f'.format([1.0])
'%d'.format([self])
'%s'.format([self])
'%f'.format([dyn('NaN')])
'abc'.matches('^a.*c$')
matches('abc', 'b')
'abc'.matches('(')
'abc'.matches('[')
'abc'.matches('a**')
'abc'.matches('\\8')
'abc'.matches(dyn('x('))
'abc'.matches('a{2,1}')
'abcabc'.find('b.')
'abc'.find('x')
'abc'.find('(')
'abc'.find(dyn('('))
'abcabc'.findAll('b.')
'abcabc'.findAll('b.', 1)
'abc'.findAll('x*')
'abc'.findAll('', 2)
'abc'.findAll('b', 0)
[1, 2, 3].isSorted()
[3, 2].isSorted()
['a', 'b'].isSorted()
[].isSorted()
[1, 2, 3].sum()
[1.5, 2.5].sum()
[1u, 2u].sum()
[duration('1m'), duration('2m')].sum()
[].sum()
['a'].sum()
[9223372036854775807, 1].sum()
[3, 1, 2].min()
[3, 1, 2].max()
[].max()
[].min()
['b', 'a'].min()
[1, 2, 1].indexOf(1)
[1, 2, 1].lastIndexOf(1)
[1, 2].indexOf(5)
[1, 2].includes(1)
[[1], [2]].indexOf([2])
[1, 2, 3, 4].slice(1, 3)
[1, 2].slice(1, 5)
[1, 2].slice(2, 1)
[1, 2].slice(-1, 1)
[[1], [2, [3]]].flatten()
[[1], [2, 3]].flatten()
[[[1]], [[2]]].flatten(2)
[[1]].flatten(-1)
[dyn(1), dyn([2])].flatten()
[3, 1, 2].sort()
['b', 'a', 'c'].sort()
[dyn(1), dyn('a')].sort()
[].sort()
[{'n': 2}, {'n': 1}].sortBy(e, e.n)
['aaa', 'b', 'cc'].sortBy(s, s.size())
lists.range(4)
lists.range(0)
lists.range(-1)
lists.range(1000).size()
[1, 2, 3].reverse()
[1, 2, 1, 3, 2].distinct()
[1, 1.0, 1u].distinct()
['a', 'a'].distinct()
[1, 2, 3].first()
[1, 2, 3].last()
[].first()
sets.contains([1, 2, 3], [2])
sets.contains([1], [2])
sets.equivalent([1, 2], [2, 1, 1])
sets.intersects([1, 2], [3, 2])
sets.intersects([], [1])
quantity('1Gi').isGreaterThan(quantity('1G'))
quantity('1500m').isLessThan(quantity('2'))
quantity('1k').compareTo(quantity('1000'))
quantity('50k').asInteger()
quantity('9999999999999999999999').asInteger()
quantity('9999999999999999999999').isInteger()
quantity('1.5').isInteger()
quantity('1.5').asApproximateFloat()
quantity('-3').sign()
sign(quantity('-3'))
sign(quantity('0'))
quantity('50k').add(quantity('20k')) == quantity('70k')
quantity('50k').add(20) == quantity('50020')
quantity('50k').sub(quantity('20k')) == quantity('30k')
quantity('50k').sub(1).asInteger()
isQuantity('1.3Gi')
isQuantity('1.3 Gi')
isQuantity('')
quantity('abc')
quantity('')
quantity('1') == quantity('1000m')
type(quantity('1'))
ip('10.0.0.1').family()
ip('::1').family()
ip('10.0.0.1') == ip('10.0.0.1')
ip('10.0.0.256')
ip('10.0.0')
ip('10.0.0.1.2')
ip('x')
ip('')
ip('10.00.0.1')
ip('::ffff:10.0.0.1')
ip('fe80::1%eth0')
ip('2001:DB8::1')
string(ip('2001:DB8::1'))
ip.isCanonical('2001:db8::1')
ip.isCanonical('2001:DB8::1')
ip.isCanonical('x')
isIP('10.0.0.1')
isIP('10.0.0.1/8')
isIP('::ffff:10.0.0.1')
ip('127.0.0.1').isLoopback()
ip('0.0.0.0').isUnspecified()
ip('224.0.0.1').isLinkLocalMulticast()
ip('169.254.1.1').isLinkLocalUnicast()
ip('10.1.1.1').isGlobalUnicast()
ip('255.255.255.255').isGlobalUnicast()
cidr('10.0.0.0/8').containsIP('10.1.2.3')
cidr('10.0.0.0/8').containsIP(ip('11.1.2.3'))
cidr('10.0.0.0/8').containsIP('x')
cidr('10.0.0.0/8').containsIP('::1')
cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')
cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/7'))
cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')
string(cidr('10.1.2.3/8').masked())
cidr('10.1.2.3/8').prefixLength()
cidr('10.1.2.3/8').ip() == ip('10.1.2.3')
cidr('10.0.0.0/33')
cidr('10.0.0.0')
cidr('x/8')
cidr('10.0.0.0/08')
cidr('10.0.0.0/x')
cidr('::ffff:10.0.0.0/104')
isCIDR('10.0.0.0/8')
isCIDR('10.0.0.0')
url('https://example.com:8080/a/b?x=1&x=2&y=%20#f').getScheme()
url('https://example.com:8080/a/b').getHost()
url('https://example.com:8080/a/b').getHostname()
url('https://example.com:8080/a/b').getPort()
url('https://[::1]:80/').getHost()
url('https://[::1]:80/').getHostname()
url('https://example.com/').getPort()
url('https://example.com/a b/c%20d').getEscapedPath()
url('https://example.com:8080/a/b?x=1&x=2&y=%20#f').getQuery()
url('/path/only').getEscapedPath()
url('relative')
url('')
url('https://a:b/')
url('https://a/%zz')
url('mailto:x@y').getScheme()
url('://x')
url('https://exa mple.com/')
isURL('https://example.com')
isURL('example')
isURL('../x')
url('https://a/') == url('https://a/')
format.dns1123Label().validate('abc')
format.dns1123Label().validate('ABC')
format.dns1123Label().validate('')
format.dns1123Subdomain().validate('a.b')
format.dns1123Subdomain().validate('a..b')
format.dns1035Label().validate('1a')
format.qualifiedName().validate('a/b/c')
format.labelValue().validate('-x')
format.dns1123LabelPrefix().validate('abc-')
format.dns1123SubdomainPrefix().validate('abc-')
format.dns1035LabelPrefix().validate('abc-')
format.uri().validate('x')
format.uuid().validate('123e4567-e89b-12d3-a456-426614174000')
format.uuid().validate('x')
format.byte().validate('aGVsbG8=')
format.byte().validate('x!')
format.date().validate('2024-01-01')
format.date().validate('2024-13-01')
format.datetime().validate('2024-01-01T00:00:00Z')
format.datetime().validate('x')
format.named('dns1123Label').value().validate('x')
format.named('nope').hasValue()
format.dns1123Label() == format.dns1123Label()
semver('1.2.3').major()
semver('1.2.3').minor() + semver('1.2.3').patch()
semver('1.2.3').isLessThan(semver('1.2.4'))
semver('1.2.3-alpha.1').compareTo(semver('1.2.3'))
semver('1.2.3-alpha.2').isGreaterThan(semver('1.2.3-alpha.10'))
semver('1.2.3+build') == semver('1.2.3')
semver('1.2')
semver('v1.2.3')
semver('01.2.3')
semver('1.2.x')
semver('')
semver('1.2.3-')
semver('v1.2', true).minor()
semver('v01.02', true).minor()
semver('1-a', true)
isSemver('1.2.3')
isSemver('1.2')
isSemver('v1.2', true)
duration('1h2m3.5s').getHours()
duration('1h2m3.5s').getMinutes()
duration('1h2m3.5s').getSeconds()
duration('1h2m3.5s').getMilliseconds()
duration('1d')
duration(dyn('1d'))
duration('1h') + duration('1m') > duration('61m')
timestamp('2024-02-29T12:34:56.789Z').getFullYear()
timestamp('2024-02-29T12:34:56.789Z').getMonth()
timestamp('2024-02-29T12:34:56.789Z').getDayOfYear()
timestamp('2024-02-29T12:34:56.789Z').getDayOfMonth()
timestamp('2024-02-29T12:34:56.789Z').getDate()
timestamp('2024-02-29T12:34:56.789Z').getDayOfWeek()
timestamp('2024-02-29T12:34:56.789Z').getHours()
timestamp('2024-02-29T12:34:56.789Z').getMinutes()
timestamp('2024-02-29T12:34:56.789Z').getSeconds()
timestamp('2024-02-29T12:34:56.789Z').getMilliseconds()
timestamp('2024-02-29T23:34:56Z').getHours('+02:00')
timestamp('2024-02-29T23:34:56Z').getDate('-11:30')
timestamp('2024-02-29T23:34:56Z').getHours('Europe/Paris')
timestamp('2024-02-29T23:34:56Z').getHours('Nowhere/Place')
timestamp('2024-02-29T23:34:56Z').getHours('1:99')
timestamp('2024-02-29T23:34:56+02:00')
string(timestamp('2024-02-29T23:34:56+02:00'))
string(timestamp('2024-02-29T23:34:56.5-00:30'))
string(timestamp('2024-02-29T23:34:56+00:00'))
string(timestamp(timestamp('2024-02-29T23:34:56+02:00')))
string(timestamp(int(timestamp('2024-02-29T23:34:56+02:00'))))
string(timestamp('2024-02-29T23:34:56+02:00') + duration('24h'))
string(duration('1.5s') + timestamp('2024-02-29T23:34:56-11:45'))
string(timestamp('2024-02-29T23:34:56+02:00') - duration('24h'))
timestamp('2024-02-29T23:34:56+02:00') == timestamp('2024-02-29T21:34:56Z')
timestamp('2024-02-29T23:34:56+02:00') < timestamp('2024-02-29T23:34:56Z')
timestamp('2024-02-29T23:34:56+02:00') - timestamp('2024-02-29T23:34:56Z')
timestamp('2024-02-29T23:34:56-03:30').getHours()
timestamp('2024-02-29T23:34:56-03:30').getDate()
timestamp('2024-02-29T23:34:56-03:30').getHours('+01:00')
timestamp('2024-02-29T23:34:56-03:30').getMinutes('Asia/Kolkata')
timestamp('2024-02-29T23:34:56-03:30').getHours('UTC')
timestamp('2024-02-29T23:34:56-03:30').getHours('')
timestamp('2024-02-29T23:34:56-03:30').getHours('Local')
timestamp('2024-02-29T23:34:56Z').getHours(dyn('Europe/Paris'))
timestamp('2024-02-29T23:34:56Z').getHours('+1:5')
timestamp('2024-02-29T23:34:56Z').getHours('+02:')
timestamp('2024-02-29T23:34:56Z').getHours(':30')
'%s %s'.format([timestamp('2024-02-29T23:34:56+02:00'), [timestamp('2024-02-29T23:34:56+02:00')]])
string([timestamp('2024-02-29T23:34:56+02:00'), timestamp('2024-02-29T22:34:56Z')].max())
string([timestamp('2024-02-29T23:34:56+02:00'), timestamp('2024-02-29T22:34:56Z')].min())
string(timestamp('0001-01-01T00:00:00-01:00'))
string(timestamp('0001-01-01T00:00:00+01:00'))
string(timestamp('9999-12-31T23:59:59-01:00'))
string(timestamp('2024-02-29T24:00:00+01:00'))
string(timestamp('2024-02-29T23:34:56+24:00'))
string(timestamp('2024-02-29T23:34:56+2:00'))
timestamp('2024-02-29T23:34:56Z') + duration('24h')
timestamp('2024-02-29T23:34:56Z') - duration('24h')
timestamp('2024-02-29T23:34:56Z') - timestamp('2024-02-28T23:34:56Z')
timestamp('9999-12-31T23:59:59Z') + duration('1s')
timestamp('0001-01-01T00:00:00Z') - duration('1s')
timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')
timestamp('x')
timestamp('2023-02-29T00:00:00Z')
timestamp(dyn('x'))
timestamp(0)
timestamp(-62135596801)
string(timestamp('2024-02-29T12:34:56.100Z'))
int(timestamp('2024-02-29T12:34:56Z'))
string(duration('90m'))
string(1.0)
string(1e21)
string(123456.789)
string(1234567.0)
string(0.00001)
string(-0.0)
int('x')
int(' 1')
int('+5')
int(1e19)
int(-1.9)
uint(-1)
uint('x')
uint(1.9)
double('1e400')
double('0x1')
double('x')
bool('yes')
bool('T')
bytes('ö')
string(b'\xff')
int(18446744073709551615u)
9223372036854775807 + 1
-9223372036854775808 - 1
9223372036854775807 * 2
-9223372036854775808 / -1
-9223372036854775808 % -1
-(-9223372036854775808)
18446744073709551615u + 1u
0u - 1u
1u * 18446744073709551615u * 2u
1 / 0
1 % 0
1u / 0u
1u % 0u
1.0 / 0.0
0.0 / 0.0
{'a': 1, 'a': 2}
{'a': 1}.a
{'a': 1}.b
{'a': 1}['a']
{'a': 1}['b']
{1: 'x'}[1]
{1: 'x'}[1u]
{1: 'x'}[dyn(1.0)]
{1u: 'x'}[dyn(1)]
{true: 'x'}[true]
'a' in {'a': 1}
1 in [1, 2, 3]
1.0 in [1.0, 2.0]
4 in [1, 2, 3]
'x' in []
dyn(1) in [1u, 2u]
dyn(1u) in [1, 2]
[1, 2][0]
[1, 2][2]
[1, 2][-1]
[1, 2][dyn(0.0)]
[1, 2][dyn('a')]
[1, 2][?0]
[1, 2][?5]
{'a': 1}.?a
{'a': 1}.?b
{'a': {'b': 1}}.?a.?b
{'a': {'b': 1}}.?a.b
{'a': {'b': 1}}.?x.b
{'a': 1}[?'b'].orValue(7)
optional.of(1).value()
optional.none().value()
optional.of(1).or(optional.of(2))
optional.none().or(optional.of(2))
optional.none().orValue(3)
optional.of(1).hasValue()
optional.of(1).optMap(x, x + 1)
optional.none().optMap(x, x + 1)
optional.of(1).optFlatMap(x, optional.of(x + 1))
optional.of(1) == optional.of(1)
optional.of(1) == optional.none()
[?optional.of(1), ?optional.none(), 3]
{?'a': optional.of(1), ?'b': optional.none()}
[?1]
{?'a': 1}
optional.unwrap([optional.of(1), optional.none()])
[optional.of(1), optional.none()].unwrapOpt()
true ? 1 : 2
false ? 1 : 2
true ? 1 : 'a'
dyn(1) ? 1 : 2
(true ? {'a': 1} : {'a': 2}).a
[1, 2, 3][true ? 0 : 1]
true || 1 / 0 > 0
1 / 0 > 0 || true
1 / 0 > 0 || false
false && 1 / 0 > 0
1 / 0 > 0 && false
1 / 0 > 0 && true
dyn(1) && true
dyn(1) || true
[1, 2, 3].all(x, x > 0)
[1, 2, 3].all(x, x > 1)
[1, 2, 3].exists(x, x > 2)
[1, 2, 3].exists(x, 1 / (x - 2) > 0)
[1, 2, 3].all(x, 1 / (x - 2) > 0)
[1, 2, 3].exists_one(x, x > 2)
[1, 2, 3].existsOne(x, x > 1)
[1, 2, 3].map(x, x * x)
[1, 2, 3].map(x, x > 1, x * x)
[1, 2, 3].filter(x, x % 2 == 1)
[1, 2, 3].map(x, 1 / (x - 2))
{'a': 1, 'b': 2}.all(k, k != 'c')
{'a': 1}.map(k, k)
{'a': 1}.filter(k, true)
[[1, 2], [3]].map(x, x.map(y, y + 1))
[1, 2, 3].all(i, v, v == i + 1)
[1, 2, 3].exists(i, v, v == i + 1)
[1, 2, 3].exists_one(i, v, v == 2)
[1, 2, 3].existsOne(i, v, v == 2)
[1, 2, 3].transformList(i, v, i * v)
[1, 2, 3].transformList(i, v, i > 0, i * v)
[1, 2, 3].transformMap(i, v, v * v)
[1, 2, 3].transformMap(i, v, v > 1, v * v)
{'a': 'x'}.transformMap(k, v, k + v)
{'a': 'x'}.transformMapEntry(k, v, {v: k})
['a', 'a'].transformMapEntry(i, v, {v: i})
{'a': 1}.transformList(k, v, k)
5.all(x, true)
dyn(5).all(x, true)
dyn(5).map(x, x)
dyn('abc').exists(i, v, true)
[1].map(x, [2].map(x, x))
[1].all(x, x.y)
[1].all(1, true)
[1].map(1, true)
[1].filter(1 + 1, true)
[1].all(x, x, true)
[1].all(__result__, true)
has(1)
has(self)
has(self.a.b.c)
has({'a': 1}.a)
has({'a': 1}.b)
type(1) == int
type(type(1))
type([]) == list
type({}) == map
type(null) == null_type
type('') == string
int == uint
[1, 'a']
{'a': 1, 'b': 'c'}
{'a': 1, 1: 2}
[dyn(1), 'a']
[1, 2.0]
[1, null]
[[], [1]]
[{}, {'a': 1}]
lists.range(1000).all(x, lists.range(100).all(y, x * y >= 0))
'a'.replace('a', 'aaaaaaaaaa').replace('a', 'aaaaaaaaaa').size()
('a' + 'b') + ('c' + 'd')
b'a' + b'b'
[1] + [2, 3]
[] + []
'abc' < 'abd'
b'abc' < b'abd'
true > false
duration('1s') < duration('2s')
timestamp('2024-01-01T00:00:00Z') < timestamp('2024-01-02T00:00:00Z')
1 < 1.5
1u < 2
1.5 > 1u
null == null
dyn(null) == 1
1 == 1.0
dyn(1) == 1.0
dyn(1u) == 1
[1, 2] == [1, 2]
[1] == [1.0]
{'a': 1} == {'a': 1}
{'a': [1]} != {'a': [2]}
'\u00f6' == 'ö'
r'\n' == '\\n'
'''a"b''' + """c'd"""
'\x41\101\U00000041'
b'\x41\101'
0x1F
0xFFu
-0x1F
1e3
.5
1.
1.5e-3
// a comment\n1 + 1
1 +\n  2 *\n\n3
jsonpatch.escapeKey('a/b~c')
base64.encode(b'abc')
cel.bind(x, 1, x + 1)
math.abs(-1)
`)

var wrong = lines(`
x
x.y
x.y.z()
self.nope()
1 +
+ 1
(1
1)
[1
[1,
{1
{1: 
{'a': 1
{'a'}
'abc
"abc
'a\q'
'\ud800'
b'\u0041'
1 2
a b
self.
self..a
object.spec.
self.a.
self.a.b.c.
self.a.)
(self.a.)
self.a. == 1
self.a.b. && true
f(self.a.)
f(self.a.b.c.)
[self.a.b.]
self.a.b.1
self.a.b.true
self.?
self.a.?
self[self.a.b.
bad value!
a b c
a b && c
1 2 3
!!
!)
(!)
!+
!1 !
self.a && !
self.a || !self.b && !
- -
-)
(-)
1 - -
1 + -
self.a > -
[-]
in a
a in in
(in)
self.1
self.true
self[
self[1
!
-
1 ? 2
1 ? 2 :
? 1
:
,
.
)
]
}
#
$
@x
1 & 2
1 | 2
1 = 2
a ==
== a
1 === 2
1 <> 2
for
self.for
in
if
1 in
f(
f(1
f(1,
f(1,)
[1,,2]
[,]
[,1]
{,}
{'a': 1,}
[1, 2,]
'a' 'b'
1u2
0x
0xG
1e
99999999999999999999
99999999999999999999u
-9223372036854775809
1e999
self.all
self.all(
self.all(x)
self.all(x, y, z, w)
self.map()
has()
has(self.a, self.b)
has(self[0])
Foo{}
Foo{a: 1}
self.Foo{a: 1}
string
string()
string(1, 2)
size()
size(1, 2)
'a'.size(1)
'a'.startsWith()
'a'.startsWith(1)
1.startsWith('a')
startsWith('a', 'b')
[1].join()
[1].sum().x
nope('a')
'a'.nope()
nope.nope('a')
quantity(1)
ip(1)
timestamp(true)
duration(1)
'a' + 1
1 + 'a'
1 + 1u
1 + 1.0
true + true
[1] + ['a']
!1
-'a'
-true
1 && true
'a' || false
1 ? 2 : 3
true ? 1 : 'a'
1 in 2
1 in ['a']
'a' in {1: 2}
{'a': 1}[1]
[1]['a']
'a'[0]
1[0]
'a'.b
1.b
null.a
self.a.b.c.nope('x')
true.all(x, x)
1.map(x, x)
[1].all(x, x + 1)
[1].all(x, 'a')
[1].filter(x, x)
optional.of(1).nope()
optional.of(1).orValue('a')
size(x) + y + z
x && y || z
"a\nb" + x
'wörld' + x
	x
self.a ==\n  x
1 +\n\n  'a'\n
self.` + "`a-b`" + `
self.` + "``" + `
` + "`a`" + `
`)

func deep() []string {
	return []string{
		strings.Repeat("(", 40) + "1" + strings.Repeat(")", 40),
		strings.Repeat("(", 260) + "1" + strings.Repeat(")", 260),
		strings.Repeat("[", 100) + strings.Repeat("]", 100),
		strings.Repeat("[", 251) + strings.Repeat("]", 251),
		"1" + strings.Repeat(" + 1", 200),
		"1" + strings.Repeat(" + 1", 260),
		"true" + strings.Repeat(" && true", 300),
		"self" + strings.Repeat(".a", 200),
		"self" + strings.Repeat(".a", 260),
		strings.Repeat("!", 40) + "true",
		strings.Repeat("-", 41) + "1",
		strings.Repeat("x + ", 120) + "x",
	}
}

const document = `{"a": {"b": {"c": 1}, "list": [1, 2, 3], "n": null, "t": true, "s": "text", "d": 1.5},
 "names": ["x", "y", "z"], "objects": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "map": {"x-y": 1, "z": 2}, "empty": {}, "none": []}`

var onDocument = lines(`
self
self.a
self.a.b.c
self.a.b.c == 1
self.a.x
self.a.x.y
self.a.b.c.d
self.x.y
self.a.n
self.a.n == null
self.a.d
self.a['b']['c']
self['a'].b
self.a['b'].c
self.names[0]
self.names[3]
self.names[self.a.b.c]
self.names[self.a.b.c + 1]
self.names[size(self.names) - 1]
self.names['a']
self.map['x-y']
self.map[self.names[0] + '-y']
has(self.a)
has(self.x)
has(self.a.n)
has(self.a.b.c)
has(self.a.b.c.d)
has(self.x.y)
has(self.a.b['c'])
'a' in self
'x' in self.names
'b' in self.a
1 in self.a.list
self.?a.?b.?c
self.?x.?y
self.?x.y
self.?a.b.c
self.?a.x
self.?a.?x.orValue(5)
self[?'a']
self.names[?0]
self.names[?7].orValue('w')
self.?names[0]
self.?x[0]
size(self)
size(self.names)
self.names.size()
self.a.s.size()
self.names.all(n, n.size() == 1)
self.names.exists(n, n == 'y')
self.names.map(n, n + '!')
self.names.filter(n, n != 'y')
self.objects.map(o, o.k)
self.objects.filter(o, o.v > 1)
self.objects.all(o, has(o.k) && o.v > 0)
self.objects.exists(o, o.k == self.objects[1].k)
self.objects.exists_one(o, o.v == 2)
self.map.all(k, self.map[k] > 0)
self.map.exists(k, v, v == 2)
self.map.transformList(k, v, v).sum() == 3
self.empty.all(k, false)
self.none.all(k, false)
self.none.exists(k, true)
self.a.list.sum()
self.a.list.max() == 3
self.a.list == [1, 2, 3]
self.a.list + [4]
self.a.list + self.names
self.a.list.isSorted()
self.a.list.map(x, self.a.list.map(y, x * y))
self.names.join(',')
self.a == self.a
self.objects == self.objects
self.a.s + 1
self.a.s.matches('^t')
self.a.t && self.a.b.c > 0
self.a.t ? self.a.s : self.a.d
self.a.t ? self.a.b.c : 0
!self.a.t
self.a.s.nope
type(self)
type(self.a.list)
type(self.a.d)
string(self.a.b.c) + self.a.s
int(self.a.d)
self.objects[0].k + self.objects[1].k
self.objects.map(o, o.v).sum() > 2
self.names.indexOf('y')
self.names.sort()
self.objects.sortBy(o, -o.v).map(o, o.k)
self.a.list.transformMap(i, v, v + i)
optional.of(self.a).optMap(x, x.s)
(self.a.t ? self.a : self.map).s
self.x || true
self.x.y == 1 || self.a.t
self.a.t && self.x
[self.a.s, self.names[0]]
{'k': self.a.s, self.names[0]: 1}
[self.x]
sets.contains(self.names, ['x'])
self.a.list.distinct().reverse()
quantity(self.a.s)
ip(self.a.s)
`)

const schemaOfApp = `{"type": "object", "required": ["replicas", "name"], "properties": {
 "replicas": {"type": "integer"}, "min": {"type": "integer"}, "max": {"type": "integer"},
 "name": {"type": "string", "maxLength": 63}, "text": {"type": "string"}, "mode": {"type": "string", "enum": ["on", "off", "auto"]},
 "ratio": {"type": "number"}, "on": {"type": "boolean"}, "nothing": {"type": "string", "nullable": true},
 "when": {"type": "string", "format": "date-time"}, "since": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"}, "wait": {"type": "string", "format": "duration"},
 "data": {"type": "string", "format": "byte", "maxLength": 100}, "port": {"x-kubernetes-int-or-string": true},
 "tags": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 20}},
 "lines": {"type": "array", "items": {"type": "string"}},
 "set": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 5, "items": {"type": "string", "maxLength": 8}},
 "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "maxItems": 8,
  "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string", "maxLength": 16}, "status": {"type": "string", "maxLength": 8}}}},
 "ports": {"type": "array", "maxItems": 12, "items": {"type": "object", "properties": {"port": {"type": "integer"}, "name": {"type": "string", "maxLength": 15}}}},
 "labels": {"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63}},
 "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
 "nested": {"type": "object", "properties": {"list": {"type": "array", "maxItems": 3, "items": {"type": "array", "maxItems": 4, "items": {"type": "integer"}}}}},
 "x-y": {"type": "integer"}, "a.b": {"type": "integer"}, "a__b": {"type": "integer"}, "namespace": {"type": "string", "maxLength": 10}, "c/d": {"type": "integer"},
 "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}`

const app = `{"replicas": 3, "min": 1, "max": 5, "name": "app", "text": "some text", "mode": "on", "ratio": 2, "on": true, "nothing": null,
 "when": "2024-02-29T12:00:00Z", "since": "2024-02-29T14:00:00.25+02:00", "day": "2024-02-29", "wait": "1h30m", "data": "aGVsbG8=", "port": "http",
 "tags": ["a", "bb", "ccc"], "lines": ["one", "two"], "set": ["x", "y"],
 "conditions": [{"type": "Ready", "status": "True"}, {"type": "Live", "status": "False"}],
 "ports": [{"port": 80, "name": "http"}, {"port": 443}], "labels": {"app": "web", "tier-x": "front"}, "limits": {"cpu": 2},
 "nested": {"list": [[1, 2], [3]]}, "x-y": 7, "a.b": 8, "a__b": 9, "namespace": "ns", "c/d": 10, "any": {"foo": 1}}`

var onApp = lines(`
self.replicas >= self.min && self.replicas <= self.max
self.replicas <= 5 && self.min > 0 && self.max < 10 && self.name != 'x' && self.ratio < 3.0 && self.tags.all(t, t.size() < 5)
self.min <= self.max
self.name.startsWith('a')
self.name.matches('^[a-z]+$')
self.text.matches('^[a-z ]+$')
self.text.contains('x')
self.text == 'some text'
self.text != self.name
self.text + self.name
self.text.size() < 100
self.name.size() < 100
self.mode == 'on' || self.mode == 'off'
self.mode in ['on', 'off']
self.name in self.tags
self.name in self.lines
self.ratio * 2.0
self.ratio == 2.0
self.ratio > 1
self.on
self.on ? self.replicas : self.min
has(self.nothing)
!has(self.nothing) || self.nothing != ''
self.nothing
has(self.replicas)
has(self.nope)
self.nope
self.when > timestamp('2024-01-01T00:00:00Z')
self.when.getFullYear() == 2024
self.since
string(self.since)
self.since.getHours()
self.since.getHours('Europe/Paris')
string(self.since + duration('1m'))
self.since == self.when
self.day < self.when
self.day
self.wait < duration('2h')
self.wait.getMinutes()
string(self.data)
self.data == b'hello'
size(self.data)
type(self.port) == string
type(self.port) == int ? self.port < 5 : self.port.size() > 2
self.port == 'http'
self.port == 80
self.tags.all(t, t.size() < 5)
self.tags.exists(t, t == 'a')
self.tags.map(t, t + 'x')
self.tags.filter(t, t != 'a').size()
self.tags.all(a, self.tags.all(b, a.size() + b.size() < 10))
self.tags.isSorted()
self.tags.max()
self.tags.indexOf('bb')
self.tags.join(',')
self.tags.join(',').size()
self.lines.join(',')
self.lines.all(l, l.size() > 0)
self.lines.all(a, self.lines.exists(b, a == b))
self.lines.map(l, l.upperAscii())
self.lines.isSorted()
self.set == ['y', 'x']
self.set == ['y', 'z']
['y', 'x'] == self.set
self.set + ['x', 'z']
self.set.all(s, s.size() < 3)
sets.contains(self.set, ['x'])
self.conditions == self.conditions
self.conditions.exists(c, c.type == 'Ready' && c.status == 'True')
self.conditions.all(c, has(c.status))
self.conditions.filter(c, c.type == 'Ready').map(c, c.status)
self.conditions.map(c, c.type)
self.conditions.exists_one(c, c.type == 'Live')
self.ports.all(p, p.port > 0 && p.port < 65536)
self.ports.all(p, !has(p.name) || p.name.size() <= 15)
self.ports.map(p, p.port).sum()
self.ports.map(p, p.port).max() < 1000
self.ports[0].name
self.ports[1].name
self.ports[1].?name.orValue('none')
self.ports.exists(p, p.nope)
self.labels['app'] == 'web'
self.labels.app
self.labels.all(k, k.size() < 20)
self.labels.all(k, self.labels[k].size() < 20)
self.labels.exists(k, v, v == 'web')
self.labels.transformList(k, v, v.size()).sum()
'app' in self.labels
has(self.labels.app)
self.labels.size()
self.limits.cpu + 1
self.limits.all(k, self.limits[k] > 0)
self.nested.list.all(l, l.all(n, n > 0))
self.nested.list.map(l, l.sum())
self.nested.list[0][1]
self.nested.list.flatten()
self.x__dash__y
self.a__dot__b
self.a__underscores__b
self.__namespace__
self.c__slash__d
self.x-y
self.?name
self.?nope
self.?nothing.hasValue()
self.?nested.?list[?0]
self == self
self.ports == self.ports
self.labels == {'app': 'web', 'tier-x': 'front'}
self.name.replace('a', 'b')
self.name.replace('a', 'bb').size()
self.name.split('p')
self.name.split('p', 2).size()
self.name.substring(1).size()
self.name.trim().lowerAscii()
self.name.find('p+')
self.name.findAll('p')
self.text.findAll('[a-z]').all(x, x.size() > 0)
self.text.split(' ').map(w, w.size()).max()
self.text.split(' ').all(w, self.text.split(' ').exists(v, v == w))
quantity(self.name).isLessThan(quantity('5'))
isQuantity(self.name)
isIP(self.text)
isURL(self.text) && url(self.text).getHost() == 'x'
cidr('10.0.0.0/8').containsIP(self.name)
format.dns1123Label().validate(self.name).hasValue()
format.dns1123Label().validate(self.text).hasValue()
self.name.format([])
'%s is %d'.format([self.name, self.replicas])
'%s'.format([self.ports])
'%f'.format([self.replicas])
self.tags.sort()
self.tags.sortBy(t, -t.size())
self.tags.distinct()
self.tags.reverse()
self.tags.slice(0, 2)
self.tags.slice(1, self.replicas)
lists.range(self.replicas)
self.lines.sort()
self.lines.distinct()
self.conditions.map(c, c.type).distinct()
dyn(self.replicas)
dyn(self).replicas
[self.min, self.max]
[self.name, self.text].all(s, s.size() > 0)
{'a': self.name, 'b': self.text}.all(k, k.size() > 0)
{self.name: self.text}
self.on ? self.tags : self.lines
(self.on ? self.tags : self.lines).all(t, t.size() > 0)
self.tags + self.lines
(self.tags + self.lines).all(t, t.size() > 0)
optional.of(self.name).optMap(n, n.size())
optional.of(self.tags).orValue([]).size()
self.tags.map(t, {'n': t}).all(m, m.n.size() > 0)
self.tags.transformMap(i, t, t.size())
self.name < self.text
self.name <= 'zzz'
bytes(self.text).size()
string(self.replicas) == '3'
int(self.text)
self.replicas + self.name
self.tags.all(t, t > 1)
self.labels.nope.x
self.ratio + self.replicas
self.when + self.wait
self.when - self.when
self.wait + self.wait
self.day.getDayOfWeek()
`)

// Expressions that nobody wrote, of a type.
type maker struct {
	random *rand.Rand
	names  map[string][]string
	depth  int
}

func (m *maker) choose(options ...string) string { return options[m.random.Intn(len(options))] }

func (m *maker) of(kind string, depth int) string {
	if depth <= 0 || m.random.Intn(6) == 0 {
		return m.choose(m.names[kind]...)
	}
	e := func(k string) string { return m.of(k, depth-1) }
	bind := func(kind, name string, f func() string) string {
		before := m.names[kind]
		m.names[kind] = append(append([]string{}, before...), name, name)
		out := f()
		m.names[kind] = before
		return out
	}
	switch kind {
	case "int":
		switch m.random.Intn(9) {
		case 0, 1:
			return "(" + e("int") + m.choose(" + ", " - ", " * ", " / ", " % ") + e("int") + ")"
		case 2:
			return e("string") + ".size()"
		case 3:
			return "size(" + e("ints") + ")"
		case 4:
			return e("ints") + "[" + e("int") + "]"
		case 5:
			return "(" + e("bool") + " ? " + e("int") + " : " + e("int") + ")"
		case 6:
			return e("ints") + m.choose(".sum()", ".max()", ".min()")
		case 7:
			return e("string") + ".indexOf(" + e("string") + ")"
		}
		return "int(" + e("int") + ")"
	case "string":
		switch m.random.Intn(7) {
		case 0, 1:
			return "(" + e("string") + " + " + e("string") + ")"
		case 2:
			return "string(" + e("int") + ")"
		case 3:
			return e("strings") + ".join(" + e("string") + ")"
		case 4:
			return e("string") + m.choose(".lowerAscii()", ".upperAscii()", ".trim()", ".replace('a', 'bc')")
		case 5:
			return "(" + e("bool") + " ? " + e("string") + " : " + e("string") + ")"
		}
		return e("strings") + "[" + e("int") + "]"
	case "bool":
		switch m.random.Intn(9) {
		case 0:
			return "(" + e("int") + m.choose(" < ", " <= ", " > ", " >= ", " == ", " != ") + e("int") + ")"
		case 1:
			return "(" + e("string") + m.choose(" < ", " == ", " != ") + e("string") + ")"
		case 2:
			return "(" + e("bool") + m.choose(" && ", " || ") + e("bool") + ")"
		case 3:
			return "!" + e("bool")
		case 4:
			return bind("int", "i", func() string { return e("ints") + m.choose(".all", ".exists", ".exists_one") + "(i, " + e("bool") + ")" })
		case 5:
			return bind("string", "s", func() string { return e("strings") + m.choose(".all", ".exists") + "(s, " + e("bool") + ")" })
		case 6:
			return "(" + e("string") + " in " + e("strings") + ")"
		case 7:
			return e("string") + m.choose(".contains(", ".startsWith(", ".endsWith(") + e("string") + ")"
		}
		return "(" + e("ints") + " == " + e("ints") + ")"
	case "ints":
		switch m.random.Intn(4) {
		case 0:
			return "[" + e("int") + ", " + e("int") + "]"
		case 1:
			return bind("int", "j", func() string { return e("ints") + ".map(j, " + e("int") + ")" })
		case 2:
			return bind("int", "k", func() string { return e("ints") + ".filter(k, " + e("bool") + ")" })
		}
		return "(" + e("ints") + " + " + e("ints") + ")"
	}
	switch m.random.Intn(4) {
	case 0:
		return "[" + e("string") + ", " + e("string") + "]"
	case 1:
		return bind("string", "t", func() string { return e("strings") + ".map(t, " + e("string") + ")" })
	case 2:
		return bind("string", "u", func() string { return e("strings") + ".filter(u, " + e("bool") + ")" })
	}
	return e("string") + ".split(" + e("string") + ")"
}

func made(random *rand.Rand, n int, names map[string][]string) []string {
	m := &maker{random: random, names: names}
	out := []string{}
	for len(out) < n {
		if e := m.of(m.choose("bool", "bool", "int", "string", "ints", "strings"), 2+random.Intn(3)); len(e) < 160 {
			out = append(out, e)
		}
	}
	return out
}

func parts(random *rand.Rand) []part {
	plain := append(operators(), functions...)
	plain = append(append(plain, wrong...), deep()...)
	return []part{
		{"", `{"a": 1}`, plain},
		{"", document, append(onDocument, made(random, 500, map[string][]string{
			"int": {"0", "1", "7", "self.a.b.c", "self.a.list[1]"}, "string": {"'a'", "''", "self.a.s", "self.names[0]"},
			"bool": {"true", "self.a.t", "has(self.a.x)"}, "ints": {"[1, 2]", "self.a.list", "[]"}, "strings": {"['a', 'b']", "self.names", "[]"}})...)},
		{schemaOfApp, app, append(onApp, made(random, 800, map[string][]string{
			"int": {"0", "2", "self.replicas", "self.max", "self.ports[0].port"}, "string": {"'a'", "self.name", "self.text", "self.tags[0]", "self.mode"},
			"bool": {"false", "self.on", "has(self.min)"}, "ints": {"[1, 2]", "self.nested.list[0]"}, "strings": {"['x']", "self.tags", "self.lines", "self.set"}})...)},
	}
}
