package portal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"easel/coordinator/api"
	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/placement"
)

// homeData is what the page of one's sessions shows.
type homeData struct {
	api.SessionList
	Key     string // for the next session: pressing the button twice gives one
	Back    string // where "End" returns to
	All     bool   // everybody's
	Choices []placement.Choice
}

// maxChoices bounds what the page offers, and with it the nodes that its script may measure.
const maxChoices = 12

// Choice tells whether there is one.
func (d homeData) Choice() bool { return len(d.Choices) > 1 }

// ByCPU tells whether something is on offer whose picture no card encodes.
func (d homeData) ByCPU() bool {
	return slices.ContainsFunc(d.Choices, func(c placement.Choice) bool { return c.Encoder == placement.Any })
}

func (p *Portal) home(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	list, err := p.Backend.ListSessions(r.Context(), who, false, false)
	if err != nil {
		return err
	}
	choices := p.Backend.Choices(who)
	choices = choices[:min(len(choices), maxChoices)]
	near, err := p.near(r, who, choices)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", policyWith(near))
	return p.show(w, http.StatusOK, "home", page{
		Title: "My sessions", Who: who, At: "home", Data: homeData{SessionList: list, Key: rand.Text(), Back: "/", Choices: choices},
	})
}

// near is the nodes that the page's script may measure, whatever of the choices is chosen.
func (p *Portal) near(r *http.Request, who auth.Who, choices []placement.Choice) ([]api.Candidate, error) {
	if len(choices) == 0 {
		choices = []placement.Choice{{}}
	}
	var all []api.Candidate
	for _, c := range choices {
		wanted, err := p.Backend.Prepare(r, who, api.SessionRequest{Key: api.DefaultKey, Class: c.Class, Encoder: c.Encoder})
		if err != nil {
			return nil, err
		}
		near, err := p.Backend.Near(wanted)
		if err != nil {
			return nil, err
		}
		for _, n := range near {
			if !slices.ContainsFunc(all, func(have api.Candidate) bool { return have.Ping == n.Ping }) {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// fragment is the list of sessions alone, for the script that keeps it fresh.
func (p *Portal) fragment(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return p.refuseFragment(w, err)
	}
	data := homeData{Back: "/"}
	if r.URL.Query().Get("all") == "true" {
		data.All, data.Back = true, "/admin"
	}
	if data.SessionList, err = p.Backend.ListSessions(r.Context(), who, data.All, false); err != nil {
		return err
	}
	return p.freshPart(w, r, "home", "sessions", data)
}

func (p *Portal) newSession(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	key := r.PostFormValue("key")
	if key == "" || len(key) > 64 {
		key = rand.Text()
	}
	req := api.SessionRequest{Key: "portal-" + key}
	req.Class, req.Encoder, _ = strings.Cut(r.PostFormValue("class"), " ")
	if pings := r.PostFormValue("pings"); pings != "" {
		if err := json.Unmarshal([]byte(pings), &req.Pings); err != nil {
			return api.BadRequest("the field pings is not a JSON object of numbers")
		}
	}
	s, err := p.create(r, who, req)
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/sessions/"+s.GetId()+"/opening", http.StatusSeeOther)
	return nil
}

func (p *Portal) create(r *http.Request, who auth.Who, req api.SessionRequest) (directory.Session, error) {
	wanted, err := p.Backend.Prepare(r, who, req)
	if err != nil {
		return directory.Session{}, err
	}
	s, _, err := p.Backend.CreateSession(r.Context(), who, wanted)
	return s, err
}

// opening is a step of its own because a form may not lead to another site: browsers hold the redirects
// after a form against form-action. This page goes there without one.
func (p *Portal) opening(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	s, err := p.Backend.FindSession(r.Context(), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	return p.show(w, http.StatusOK, "opening", page{Title: "Opening your session", Who: who, Data: "/sessions/" + s.GetId() + "/open"})
}

// open leads the session's user to its viewer, with a token that is good for one minute.
func (p *Portal) open(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	s, err := p.mine(r, who)
	switch {
	case errors.Is(err, directory.ErrUnreachable):
		return p.showSilent(w, who)
	case err != nil:
		return err
	}
	switch told := api.Describe(s); {
	case told.State == lost:
		return p.show(w, http.StatusOK, "lost", page{Title: "Your session's machine is lost", Who: who, Data: told})
	case !told.Live():
		text := "this session has ended"
		if told.Reason != "" {
			text += ": " + told.Reason
		}
		return &goneError{text}
	}
	link, err := p.Nodes.Link(s)
	if err != nil {
		return err
	}
	w.Header().Set("Location", link)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// lost is the state of a session whose node has not been seen for a while.
const lost = "lost"

// mine is the session that the request names, for its user alone: administrators see none of others here.
func (p *Portal) mine(r *http.Request, who auth.Who) (directory.Session, error) {
	return p.Backend.FindSession(r.Context(), auth.Who{Account: auth.Account{Name: who.Name}}, r.PathValue("id"))
}

// showSilent has the browser ask again: a node that does not answer is back in a moment, or will count as lost.
func (p *Portal) showSilent(w http.ResponseWriter, who auth.Who) error {
	w.Header().Set("Retry-After", "2")
	return p.show(w, http.StatusServiceUnavailable, "silent", page{Title: "Waiting for your session", Who: who})
}

// again makes a new session in place of one whose node is lost. Where that node has come back meanwhile, the old one
// goes on.
func (p *Portal) again(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	s, err := p.mine(r, who)
	if err != nil && !errors.Is(err, directory.ErrUnreachable) {
		return err
	}
	if err == nil && api.Describe(s).State == lost {
		s, err = p.create(r, who, api.SessionRequest{Key: s.GetKey(), Image: s.GetImage(), Class: s.GetClass(), Encoder: s.Wish})
		if err != nil {
			return err
		}
		http.Redirect(w, r, "/sessions/"+s.GetId()+"/opening", http.StatusSeeOther)
		return nil
	}
	http.Redirect(w, r, "/sessions/"+r.PathValue("id")+"/opening", http.StatusSeeOther)
	return nil
}

func (p *Portal) end(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	if _, err := p.Backend.EndSession(r.Context(), who, r.PathValue("id")); err != nil {
		return err
	}
	back := "/"
	if r.PostFormValue("back") == "/admin" {
		back = "/admin"
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
	return nil
}
