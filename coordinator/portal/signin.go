package portal

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"easel/coordinator/api"
	"easel/coordinator/auth"
)

// after is where a sign-in may lead: pages of this portal that somebody may have been sent away from.
var after = regexp.MustCompile(`^/(|account|admin|sessions/s[a-z2-7]{16}/open)$`)

// next is the page that the browser wanted, or the first one.
func next(want string) string {
	if after.MatchString(want) {
		return want
	}
	return "/"
}

// toSignin sends a browser to the sign-in page, and back afterwards.
func (p *Portal) toSignin(w http.ResponseWriter, r *http.Request) {
	target := "/signin"
	if want := next(r.URL.Path); r.Method == http.MethodGet && want != "/" {
		target += "?next=" + url.QueryEscape(want)
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

type signinData struct{ User, Next string }

func (p *Portal) signinPage(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if code := query.Get("once"); code != "" {
		return p.useLink(w, r, code)
	}
	if _, err := p.Guard.Identify(r); err == nil {
		http.Redirect(w, r, next(query.Get("next")), http.StatusSeeOther)
		return nil
	}
	return p.showSignin(w, http.StatusOK, signinData{Next: next(query.Get("next"))}, "")
}

func (p *Portal) showSignin(w http.ResponseWriter, status int, data signinData, fault string) error {
	return p.show(w, status, "signin", page{Title: "Sign in", Fault: fault, Data: data})
}

// useLink signs a browser in by a one-time link. A request that only looks ahead does not use it up.
func (p *Portal) useLink(w http.ResponseWriter, r *http.Request, code string) error {
	if looksAhead(r) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	account, err := p.Guard.Store.UseLink(r.Context(), code)
	if err != nil {
		if _, signedIn := p.Guard.Identify(r); signedIn == nil {
			http.Redirect(w, r, "/", http.StatusSeeOther) // the link was this browser's own: a reload, say
			return nil
		}
		p.Log.Warn("one-time link refused", "address", p.Guard.ClientAddress(r), "error", err)
		problem, _ := api.Explain(err)
		return p.showSignin(w, problem.Status, signinData{Next: "/"},
			sentence(problem.Detail)+" Ask an administrator for a new one; on the coordinator's host, coordinator signin-link prints one.")
	}
	if err := p.Guard.SignIn(r.Context(), w, account.Name); err != nil {
		return err
	}
	p.Log.Info("signed in by a one-time link", "user", account.Name, "address", p.Guard.ClientAddress(r))
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// looksAhead tells whether a browser or a mail scanner fetches a page without anybody's having opened it.
func looksAhead(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return true
	}
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		value := strings.ToLower(r.Header.Get(name))
		if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
			return true
		}
	}
	return false
}

func (p *Portal) signin(w http.ResponseWriter, r *http.Request) error {
	if !p.Guard.FromOwnPage(r) {
		return auth.ErrCrossSite
	}
	data := signinData{User: r.PostFormValue("user"), Next: next(r.PostFormValue("next"))}
	if len(data.User) > 64 {
		data.User = ""
	}
	account, err := p.Backend.CheckPassword(r, r.PostFormValue("user"), r.PostFormValue("password"))
	if err != nil {
		problem, retryAfter := api.Explain(err)
		if problem.Status >= http.StatusInternalServerError && retryAfter == 0 {
			return err
		}
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		return p.showSignin(w, problem.Status, data, sentence(problem.Detail))
	}
	if err := p.Guard.SignIn(r.Context(), w, account.Name); err != nil {
		return err
	}
	http.Redirect(w, r, data.Next, http.StatusSeeOther)
	return nil
}

func (p *Portal) signout(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	if err := p.Guard.SignOut(r.Context(), w, who); err != nil {
		return err
	}
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
	return nil
}

func (p *Portal) account(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	return p.showAccount(w, http.StatusOK, who, "", "")
}

func (p *Portal) showAccount(w http.ResponseWriter, status int, who auth.Who, notice, fault string) error {
	return p.show(w, status, "account", page{Title: "Account", Who: who, At: "account", Notice: notice, Fault: fault})
}

func (p *Portal) setPassword(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Guard.Identify(r)
	if err != nil {
		return err
	}
	if r.PostFormValue("new") != r.PostFormValue("again") {
		return p.showAccount(w, http.StatusUnprocessableEntity, who, "", "The two new passwords differ.")
	}
	if who.HasPassword {
		_, err = p.Backend.CheckPassword(r, who.Name, r.PostFormValue("current"))
	}
	if err == nil {
		err = p.Guard.Store.SetPassword(r.Context(), who.Name, r.PostFormValue("new"), who.Cookie)
	}
	if err != nil {
		problem, retryAfter := api.Explain(err)
		if problem.Status >= http.StatusInternalServerError && retryAfter == 0 {
			return err
		}
		return p.showAccount(w, problem.Status, who, "", sentence(problem.Detail))
	}
	who.HasPassword = true
	return p.showAccount(w, http.StatusOK, who, "The password is set. Your other browsers are signed out.", "")
}
