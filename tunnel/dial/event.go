// SPDX-License-Identifier: Apache-2.0

package dial

// Event is what the Dialler hears.
type Event interface{ event() }

// The events.
type (
	// Addresses replaces the published addresses, "host:port".
	Addresses struct{ List []string }
	// Relays replaces the neighbours that may carry us out, "address:port", best
	// first.
	Relays struct{ List []string }
	// Renewed says that there is a certificate: the first, or another than
	// before. Nothing is dialled without one.
	Renewed struct{}
	// Greeted is what a gateway says first, and again when Instances change:
	// who it is and who else there is.
	Greeted struct {
		Conn      int
		Instance  string
		Instances []string
	}
	// Streams says how many run on a connection now.
	Streams struct{ Conn, Count int }
	// Left says that a gateway lets no more streams begin on a connection: it is
	// going away. What runs there runs on until Ended.
	Left struct{ Conn int }
	// Ended says that a dial failed or that a connection is over. There is one
	// for each Dial.
	Ended struct{ Conn int }
	// Tick says no more than what time it is.
	Tick struct{}
	// Stop drains everything and dials no more.
	Stop struct{}
)

func (Addresses) event() {}
func (Relays) event()    {}
func (Renewed) event()   {}
func (Greeted) event()   {}
func (Streams) event()   {}
func (Left) event()      {}
func (Ended) event()     {}
func (Tick) event()      {}
func (Stop) event()      {}

// Action is what the Dialler wants done.
type Action interface{ action() }

// The actions.
type (
	// Dial opens a connection to Addr, straight or, if Via is not "", through
	// that relay. Conn is its number from now on.
	Dial struct {
		Conn      int
		Addr, Via string
	}
	// Drain lets the streams of a connection end, takes no new ones, then closes
	// it.
	Drain struct {
		Conn int
		Why  string
	}
	// Close ends a connection, or a dial, at once.
	Close struct {
		Conn int
		Why  string
	}
)

func (Dial) action()  {}
func (Drain) action() {}
func (Close) action() {}
