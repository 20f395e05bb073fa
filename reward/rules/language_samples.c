/* A page of everyday text in each language that needs telling apart by more than its script: the language detector learns
 * its n-grams from these at start. Written for this purpose; they say the same in every language, so that topic does not
 * decide. Languages that the rules do not name are there because their texts would pass for one that they do. */
#include "reward/rules/language.h"

// clang-format off
const struct language_sample language_samples[] = {
    {"en", LANGUAGE_LATIN,
     "The people who live in this city have a lot of things to do every day. When we first came here, we did not "
     "know what would happen, but now it is our home. I would like to thank you for your help with this project. "
     "There are many ways to solve the problem, and each of them has its own advantages. She said that they could "
     "not find the book because someone had taken it from the table. If you want to learn more about the history "
     "of the world, you should read as much as possible and ask good questions. Please write back to me as soon "
     "as you can. What is the best way to make a good impression? Some of these children were playing outside "
     "while their parents talked about work, money and the weather. It has been a long time since the last "
     "meeting, however we will see each other again next week. This letter should show how much he knows about "
     "computers, science and music. Just remember: nothing great was ever made without hard work, love and "
     "patience. The answer to your question is yes, but first let me explain why. Dear friend, today we visit the "
     "museum and then go shopping for food, clothes and shoes."},
    {"es", LANGUAGE_LATIN,
     "Las personas que viven en esta ciudad tienen muchas cosas que hacer todos los días. Cuando llegamos aquí "
     "por primera vez no sabíamos lo que iba a pasar, pero ahora es nuestro hogar. Me gustaría darle las gracias "
     "por su ayuda con este proyecto. Hay muchas maneras de resolver el problema y cada una de ellas tiene sus "
     "propias ventajas. Ella dijo que no podían encontrar el libro porque alguien lo había cogido de la mesa. Si "
     "quieres aprender más sobre la historia del mundo, debes leer todo lo posible y hacer buenas preguntas. Por "
     "favor, escríbame tan pronto como pueda. ¿Cuál es la mejor forma de causar una buena impresión? Algunos de "
     "estos niños jugaban fuera mientras sus padres hablaban del trabajo, del dinero y del tiempo. Ha pasado "
     "mucho tiempo desde la última reunión, sin embargo nos veremos otra vez la semana que viene. Esta carta "
     "muestra cuánto sabe él de ordenadores, ciencia y música. Hoy desayunamos juntos y después fuimos al "
     "mercado. La respuesta a tu pregunta es sí, pero primero déjame explicar por qué. El gobierno ha anunciado "
     "nuevas medidas para los trabajadores. También es importante dormir bien y comer de forma saludable."},
    {"pt", LANGUAGE_LATIN,
     "As pessoas que vivem nesta cidade têm muitas coisas para fazer todos os dias. Quando chegamos aqui pela "
     "primeira vez não sabíamos o que ia acontecer, mas agora é a nossa casa. Gostaria de agradecer a sua ajuda "
     "com este projeto. Há muitas maneiras de resolver o problema e cada uma delas tem as suas próprias "
     "vantagens. Ela disse que eles não conseguiam encontrar o livro porque alguém o tinha tirado da mesa. Se "
     "você quer aprender mais sobre a história do mundo, deve ler o máximo possível e fazer boas perguntas. Por "
     "favor, escreva para mim assim que puder. Qual é a melhor forma de causar uma boa impressão? Algumas dessas "
     "crianças brincavam lá fora enquanto os pais falavam sobre trabalho, dinheiro e o tempo. Faz muito tempo "
     "desde a última reunião, no entanto vamos nos ver novamente na próxima semana. Esta carta mostra o quanto "
     "ele sabe de computadores, ciência e música. Hoje tomamos café juntos e depois fomos ao mercado. A resposta "
     "à sua pergunta é sim, mas primeiro deixe-me explicar por quê. O governo anunciou novas medidas para os "
     "trabalhadores. Também é importante dormir bem e comer de forma saudável. Isso não está em nenhum lugar do "
     "seu livro, então eu vou fazer com que ela possa ver."},
    {"fr", LANGUAGE_LATIN,
     "Les gens qui vivent dans cette ville ont beaucoup de choses à faire tous les jours. Quand nous sommes "
     "arrivés ici pour la première fois, nous ne savions pas ce qui allait se passer, mais maintenant c'est notre "
     "maison. Je voudrais vous remercier pour votre aide dans ce projet. Il y a plusieurs façons de résoudre le "
     "problème et chacune d'elles a ses propres avantages. Elle a dit qu'ils ne pouvaient pas trouver le livre "
     "parce que quelqu'un l'avait pris sur la table. Si vous voulez en savoir plus sur l'histoire du monde, vous "
     "devez lire autant que possible et poser de bonnes questions. Écrivez-moi dès que vous le pouvez, s'il vous "
     "plaît. Quelle est la meilleure manière de faire une bonne impression ? Certains de ces enfants jouaient "
     "dehors pendant que leurs parents parlaient de travail, d'argent et de la pluie. Cela fait longtemps depuis "
     "la dernière réunion, cependant nous nous verrons à nouveau la semaine prochaine. Cette lettre montre "
     "combien il connaît les ordinateurs, la science et la musique. Aujourd'hui nous avons mangé ensemble, puis "
     "nous sommes allés au marché. La réponse à ta question est oui, mais d'abord laisse-moi expliquer pourquoi. "
     "Le gouvernement a annoncé de nouvelles mesures pour les travailleurs. Il est aussi important de bien dormir "
     "et de manger sainement."},
    {"de", LANGUAGE_LATIN,
     "Die Menschen, die in dieser Stadt leben, haben jeden Tag viele Dinge zu tun. Als wir zum ersten Mal hierher "
     "kamen, wussten wir nicht, was passieren würde, aber jetzt ist es unser Zuhause. Ich möchte Ihnen für Ihre "
     "Hilfe bei diesem Projekt danken. Es gibt viele Wege, das Problem zu lösen, und jeder von ihnen hat seine "
     "eigenen Vorteile. Sie sagte, dass sie das Buch nicht finden konnten, weil jemand es vom Tisch genommen "
     "hatte. Wenn du mehr über die Geschichte der Welt lernen willst, solltest du so viel wie möglich lesen und "
     "gute Fragen stellen. Bitte schreiben Sie mir, sobald Sie können. Was ist der beste Weg, einen guten "
     "Eindruck zu machen? Einige dieser Kinder spielten draußen, während ihre Eltern über Arbeit, Geld und das "
     "Wetter sprachen. Es ist lange her seit dem letzten Treffen, jedoch werden wir uns nächste Woche wieder "
     "sehen. Dieser Brief zeigt, wie viel er über Computer, Wissenschaft und Musik weiß. Heute haben wir zusammen "
     "gefrühstückt und sind dann auf den Markt gegangen. Die Antwort auf deine Frage ist ja, aber zuerst lass "
     "mich erklären, warum. Die Regierung hat neue Maßnahmen für die Arbeiter angekündigt. Es ist auch wichtig, "
     "gut zu schlafen und sich gesund zu ernähren. Ich habe keine Zeit, das ist nicht mein Hund und wir sind auch "
     "nicht müde."},
    {"it", LANGUAGE_LATIN,
     "Le persone che vivono in questa città hanno molte cose da fare tutti i giorni. Quando siamo arrivati qui "
     "per la prima volta non sapevamo cosa sarebbe successo, ma adesso è la nostra casa. Vorrei ringraziarla per "
     "il suo aiuto con questo progetto. Ci sono molti modi per risolvere il problema e ognuno di essi ha i propri "
     "vantaggi. Lei ha detto che non riuscivano a trovare il libro perché qualcuno lo aveva preso dal tavolo. Se "
     "vuoi imparare di più sulla storia del mondo, devi leggere il più possibile e fare buone domande. Per "
     "favore, scrivimi appena puoi. Qual è il modo migliore di fare una buona impressione? Alcuni di questi "
     "bambini giocavano fuori mentre i loro genitori parlavano del lavoro, dei soldi e del tempo. È passato molto "
     "tempo dall'ultima riunione, tuttavia ci vedremo di nuovo la prossima settimana. Questa lettera mostra "
     "quanto lui sappia di computer, scienza e musica. Oggi abbiamo fatto colazione insieme e poi siamo andati al "
     "mercato. La risposta alla tua domanda è sì, ma prima lasciami spiegare il perché. Il governo ha annunciato "
     "nuove misure per i lavoratori. È anche importante dormire bene e mangiare in modo sano. Gli amici della sua "
     "famiglia sono stati gentili con noi, anche se non ci conoscevano."},
    {"pl", LANGUAGE_LATIN,
     "Ludzie, którzy mieszkają w tym mieście, mają codziennie wiele rzeczy do zrobienia. Kiedy przyjechaliśmy tu "
     "po raz pierwszy, nie wiedzieliśmy, co się stanie, ale teraz to jest nasz dom. Chciałbym podziękować za "
     "pomoc przy tym projekcie. Istnieje wiele sposobów rozwiązania problemu, a każdy z nich ma swoje zalety. "
     "Powiedziała, że nie mogli znaleźć książki, ponieważ ktoś zabrał ją ze stołu. Jeśli chcesz dowiedzieć się "
     "więcej o historii świata, powinieneś czytać jak najwięcej i zadawać dobre pytania. Proszę napisać do mnie "
     "tak szybko, jak to możliwe. Jaki jest najlepszy sposób, aby zrobić dobre wrażenie? Niektóre z tych dzieci "
     "bawiły się na zewnątrz, podczas gdy ich rodzice rozmawiali o pracy, pieniądzach i pogodzie. Minęło dużo "
     "czasu od ostatniego spotkania, jednak zobaczymy się znowu w przyszłym tygodniu. Ten list pokazuje, jak dużo "
     "on wie o komputerach, nauce i muzyce. Dzisiaj zjedliśmy razem śniadanie, a potem poszliśmy na targ. "
     "Odpowiedź na twoje pytanie brzmi tak, ale najpierw pozwól mi wyjaśnić dlaczego. Rząd ogłosił nowe środki "
     "dla pracowników. Ważne jest również, aby dobrze spać i zdrowo się odżywiać."},
    {"vi", LANGUAGE_LATIN,
     "Những người sống ở thành phố này có rất nhiều việc phải làm mỗi ngày. Khi chúng tôi đến đây lần đầu tiên, "
     "chúng tôi không biết điều gì sẽ xảy ra, nhưng bây giờ đây là nhà của chúng tôi. Tôi muốn cảm ơn bạn đã giúp "
     "đỡ tôi trong dự án này. Có nhiều cách để giải quyết vấn đề và mỗi cách đều có ưu điểm riêng. Cô ấy nói rằng "
     "họ không thể tìm thấy cuốn sách vì ai đó đã lấy nó khỏi bàn. Nếu bạn muốn tìm hiểu thêm về lịch sử thế "
     "giới, bạn nên đọc càng nhiều càng tốt và đặt những câu hỏi hay. Xin hãy viết thư cho tôi ngay khi bạn có "
     "thể. Cách tốt nhất để tạo ấn tượng tốt là gì? Một số trẻ em đang chơi bên ngoài trong khi cha mẹ của chúng "
     "nói chuyện về công việc, tiền bạc và thời tiết. Đã lâu rồi kể từ cuộc họp cuối cùng, tuy nhiên chúng ta sẽ "
     "gặp lại nhau vào tuần tới. Hôm nay chúng tôi ăn sáng cùng nhau rồi đi chợ. Chính phủ đã công bố các biện "
     "pháp mới cho người lao động."},
    {"sw", LANGUAGE_LATIN,
     "Watu wanaoishi katika mji huu wana mambo mengi ya kufanya kila siku. Tulipofika hapa kwa mara ya kwanza "
     "hatukujua nini kingetokea, lakini sasa ni nyumbani kwetu. Ningependa kukushukuru kwa msaada wako katika "
     "mradi huu. Kuna njia nyingi za kutatua tatizo na kila moja ina faida zake. Alisema kwamba hawakuweza kupata "
     "kitabu kwa sababu mtu fulani alikichukua kutoka mezani. Kama unataka kujifunza zaidi kuhusu historia ya "
     "dunia, unapaswa kusoma kadiri iwezekanavyo na kuuliza maswali mazuri. Tafadhali niandikie mara tu "
     "utakapoweza. Je, ni njia gani bora ya kufanya kazi vizuri? Baadhi ya watoto hawa walikuwa wakicheza nje "
     "wakati wazazi wao walizungumza kuhusu kazi, pesa na hali ya hewa. Ni muda mrefu tangu mkutano wa mwisho, "
     "hata hivyo tutaonana tena wiki ijayo. Barua hii inaonyesha jinsi anavyojua kompyuta, sayansi na muziki. Leo "
     "tulikula chakula cha asubuhi pamoja kisha tukaenda sokoni. Jibu la swali lako ni ndiyo, lakini kwanza "
     "niruhusu nieleze kwa nini. Serikali imetangaza hatua mpya kwa wafanyakazi. Pia ni muhimu kulala vizuri na "
     "kula chakula chenye afya. Mtoto wangu anapenda kusoma vitabu, yeye ni mwanafunzi mzuri sana."},
    {"fi", LANGUAGE_LATIN,
     "Ihmisillä, jotka asuvat tässä kaupungissa, on joka päivä paljon tekemistä. Kun tulimme tänne ensimmäistä "
     "kertaa, emme tienneet mitä tapahtuisi, mutta nyt se on meidän kotimme. Haluaisin kiittää teitä avustanne "
     "tässä hankkeessa. On monia tapoja ratkaista ongelma, ja jokaisella niistä on omat etunsa. Hän sanoi, että "
     "he eivät löytäneet kirjaa, koska joku oli ottanut sen pöydältä. Jos haluat oppia lisää maailman "
     "historiasta, sinun pitäisi lukea niin paljon kuin mahdollista ja esittää hyviä kysymyksiä. Kirjoita minulle "
     "heti kun voit. Mikä on paras tapa tehdä hyvä vaikutus? Jotkut näistä lapsista leikkivät ulkona, kun heidän "
     "vanhempansa puhuivat työstä, rahasta ja säästä. Viime kokouksesta on kulunut pitkä aika, mutta näemme taas "
     "ensi viikolla. Tämä kirje osoittaa, kuinka paljon hän tietää tietokoneista, tieteestä ja musiikista. Tänään "
     "söimme yhdessä aamiaista ja menimme sitten torille. Vastaus kysymykseesi on kyllä, mutta anna minun ensin "
     "selittää miksi. Hallitus on ilmoittanut uusista toimista työntekijöille. On myös tärkeää nukkua hyvin ja "
     "syödä terveellisesti."},
    {"nl", LANGUAGE_LATIN,
     "De mensen die in deze stad wonen hebben elke dag veel dingen te doen. Toen we hier voor het eerst kwamen, "
     "wisten we niet wat er zou gebeuren, maar nu is het ons huis. Ik wil u graag bedanken voor uw hulp bij dit "
     "project. Er zijn veel manieren om het probleem op te lossen en elk daarvan heeft zijn eigen voordelen. Ze "
     "zei dat ze het boek niet konden vinden omdat iemand het van de tafel had gepakt. Als je meer wilt leren "
     "over de geschiedenis van de wereld, moet je zo veel mogelijk lezen en goede vragen stellen. Schrijf mij "
     "alsjeblieft zodra je kunt. Sommige van deze kinderen speelden buiten terwijl hun ouders over werk, geld en "
     "het weer praatten. Het is lang geleden sinds de laatste vergadering, maar we zien elkaar volgende week "
     "weer. Vandaag hebben we samen ontbeten en daarna zijn we naar de markt gegaan. De regering heeft nieuwe "
     "maatregelen aangekondigd."},
    {"sv", LANGUAGE_LATIN,
     "Människorna som bor i den här staden har många saker att göra varje dag. När vi kom hit för första gången "
     "visste vi inte vad som skulle hända, men nu är det vårt hem. Jag skulle vilja tacka er för hjälpen med "
     "detta projekt. Det finns många sätt att lösa problemet och vart och ett av dem har sina egna fördelar. Hon "
     "sa att de inte kunde hitta boken eftersom någon hade tagit den från bordet. Om du vill lära dig mer om "
     "världens historia bör du läsa så mycket som möjligt och ställa bra frågor. Några av barnen lekte ute medan "
     "deras föräldrar pratade om arbete, pengar och vädret. Det har gått lång tid sedan det senaste mötet, men vi "
     "ses igen nästa vecka. I dag åt vi frukost tillsammans och gick sedan till torget. Regeringen har också "
     "meddelat nya åtgärder för arbetarna."},
    {"da", LANGUAGE_LATIN,
     "De mennesker, der bor i denne by, har mange ting at lave hver dag. Da vi kom hertil første gang, vidste vi "
     "ikke, hvad der ville ske, men nu er det vores hjem. Jeg vil gerne takke jer for hjælpen med dette projekt. "
     "Der er mange måder at løse problemet på, og hver af dem har sine egne fordele. Hun sagde, at de ikke kunne "
     "finde bogen, fordi nogen havde taget den fra bordet. Hvis du vil lære mere om verdens historie, bør du læse "
     "så meget som muligt og stille gode spørgsmål. Nogle af børnene legede udenfor, mens deres forældre talte om "
     "arbejde, penge og vejret. Det er længe siden det sidste møde, men vi ses igen i næste uge. I dag spiste vi "
     "morgenmad sammen og gik derefter på markedet. Regeringen har også meddelt nye foranstaltninger."},
    {"no", LANGUAGE_LATIN,
     "Menneskene som bor i denne byen, har mange ting å gjøre hver dag. Da vi kom hit for første gang, visste vi "
     "ikke hva som ville skje, men nå er det hjemmet vårt. Jeg vil gjerne takke dere for hjelpen med dette "
     "prosjektet. Det finnes mange måter å løse problemet på, og hver av dem har sine egne fordeler. Hun sa at de "
     "ikke kunne finne boka fordi noen hadde tatt den fra bordet. Hvis du vil lære mer om verdens historie, bør "
     "du lese så mye som mulig og stille gode spørsmål. Noen av barna lekte ute mens foreldrene deres snakket om "
     "arbeid, penger og været. Det er lenge siden det siste møtet, men vi ses igjen neste uke. I dag spiste vi "
     "frokost sammen og gikk deretter til torget. Regjeringen har også kunngjort nye tiltak."},
    {"ro", LANGUAGE_LATIN,
     "Oamenii care locuiesc în acest oraș au multe lucruri de făcut în fiecare zi. Când am venit aici pentru "
     "prima dată, nu știam ce se va întâmpla, dar acum este casa noastră. Aș dori să vă mulțumesc pentru ajutorul "
     "dumneavoastră la acest proiect. Există multe moduri de a rezolva problema și fiecare dintre ele are "
     "avantajele sale. Ea a spus că nu au putut găsi cartea pentru că cineva o luase de pe masă. Dacă vrei să "
     "afli mai multe despre istoria lumii, trebuie să citești cât mai mult și să pui întrebări bune. Unii dintre "
     "acești copii se jucau afară în timp ce părinții lor vorbeau despre muncă, bani și vreme. A trecut mult timp "
     "de la ultima întâlnire, totuși ne vom vedea din nou săptămâna viitoare. Astăzi am mâncat împreună și apoi "
     "am mers la piață. Guvernul a anunțat măsuri noi."},
    {"cs", LANGUAGE_LATIN,
     "Lidé, kteří žijí v tomto městě, mají každý den mnoho věcí na práci. Když jsme sem přišli poprvé, nevěděli "
     "jsme, co se stane, ale teď je to náš domov. Rád bych vám poděkoval za pomoc s tímto projektem. Existuje "
     "mnoho způsobů, jak problém vyřešit, a každý z nich má své výhody. Řekla, že nemohli najít knihu, protože ji "
     "někdo vzal ze stolu. Pokud se chcete dozvědět více o historii světa, měli byste číst co nejvíce a klást "
     "dobré otázky. Některé z těchto dětí si hrály venku, zatímco jejich rodiče mluvili o práci, penězích a "
     "počasí. Od posledního setkání uplynula dlouhá doba, ale příští týden se znovu uvidíme. Dnes jsme spolu "
     "snídali a pak jsme šli na trh. Vláda oznámila nová opatření."},
    {"hu", LANGUAGE_LATIN,
     "Az emberek, akik ebben a városban élnek, minden nap sok dolgot csinálnak. Amikor először jöttünk ide, nem "
     "tudtuk, mi fog történni, de most ez az otthonunk. Szeretném megköszönni a segítségét ebben a projektben. "
     "Sokféleképpen lehet megoldani a problémát, és mindegyiknek megvannak a maga előnyei. Azt mondta, hogy nem "
     "találták meg a könyvet, mert valaki elvette az asztalról. Ha többet szeretnél megtudni a világ "
     "történelméről, olvass minél többet és tegyél fel jó kérdéseket. Néhány gyerek kint játszott, miközben a "
     "szüleik a munkáról, a pénzről és az időjárásról beszéltek. Régen volt az utolsó találkozó, de jövő héten "
     "újra látjuk egymást. Ma együtt reggeliztünk, aztán elmentünk a piacra. A kormány új intézkedéseket "
     "jelentett be."},
    {"tr", LANGUAGE_LATIN,
     "Bu şehirde yaşayan insanların her gün yapacak çok işi var. Buraya ilk geldiğimizde ne olacağını bilmiyorduk "
     "ama şimdi burası bizim evimiz. Bu projedeki yardımınız için size teşekkür etmek istiyorum. Sorunu çözmenin "
     "birçok yolu var ve her birinin kendi avantajları vardır. Birisi masadan aldığı için kitabı bulamadıklarını "
     "söyledi. Dünya tarihi hakkında daha fazla bilgi edinmek istiyorsan, mümkün olduğunca çok okumalı ve iyi "
     "sorular sormalısın. Bu çocuklardan bazıları dışarıda oynarken anne babaları iş, para ve hava hakkında "
     "konuşuyordu. Son toplantının üzerinden uzun zaman geçti, ancak gelecek hafta tekrar görüşeceğiz. Bugün "
     "birlikte kahvaltı yaptık ve sonra pazara gittik. Hükümet yeni önlemler açıkladı."},
    {"id", LANGUAGE_LATIN,
     "Orang-orang yang tinggal di kota ini memiliki banyak hal yang harus dilakukan setiap hari. Ketika kami "
     "datang ke sini untuk pertama kali, kami tidak tahu apa yang akan terjadi, tetapi sekarang ini adalah rumah "
     "kami. Saya ingin mengucapkan terima kasih atas bantuan Anda dalam proyek ini. Ada banyak cara untuk "
     "menyelesaikan masalah dan masing-masing memiliki kelebihan sendiri. Dia mengatakan bahwa mereka tidak dapat "
     "menemukan buku itu karena seseorang telah mengambilnya dari meja. Jika Anda ingin belajar lebih banyak "
     "tentang sejarah dunia, Anda harus membaca sebanyak mungkin dan mengajukan pertanyaan yang baik. Beberapa "
     "anak bermain di luar sementara orang tua mereka berbicara tentang pekerjaan, uang dan cuaca. Hari ini kami "
     "makan pagi bersama lalu pergi ke pasar. Pemerintah telah mengumumkan aturan baru."},
    {"tl", LANGUAGE_LATIN,
     "Ang mga taong nakatira sa lungsod na ito ay maraming ginagawa araw-araw. Noong una kaming dumating dito, "
     "hindi namin alam kung ano ang mangyayari, ngunit ngayon ito na ang aming tahanan. Gusto kong magpasalamat "
     "sa inyong tulong sa proyektong ito. Maraming paraan upang malutas ang problema at ang bawat isa ay may "
     "sariling kabutihan. Sinabi niya na hindi nila mahanap ang aklat dahil may kumuha nito sa mesa. Kung nais "
     "mong matuto pa tungkol sa kasaysayan ng mundo, dapat kang magbasa at magtanong. Ang ilan sa mga bata ay "
     "naglalaro sa labas habang ang kanilang mga magulang ay nag-uusap tungkol sa trabaho at pera. Ngayon ay "
     "kumain kami nang sabay at pagkatapos ay pumunta sa palengke."},
    {"ca", LANGUAGE_LATIN,
     "Les persones que viuen en aquesta ciutat tenen moltes coses a fer cada dia. Quan vam arribar aquí per "
     "primera vegada no sabíem què passaria, però ara és casa nostra. M'agradaria donar-vos les gràcies per la "
     "vostra ajuda amb aquest projecte. Hi ha moltes maneres de resoldre el problema i cadascuna té els seus "
     "avantatges. Ella va dir que no podien trobar el llibre perquè algú l'havia agafat de la taula. Si vols "
     "aprendre més sobre la història del món, has de llegir tant com puguis i fer bones preguntes. Alguns "
     "d'aquests nens jugaven fora mentre els seus pares parlaven de la feina, dels diners i del temps. Avui hem "
     "esmorzat junts i després hem anat al mercat. El govern ha anunciat noves mesures."},
    {"hr", LANGUAGE_LATIN,
     "Ljudi koji žive u ovom gradu imaju svaki dan mnogo stvari za raditi. Kada smo prvi put došli ovamo, nismo "
     "znali što će se dogoditi, ali sada je to naš dom. Želio bih vam zahvaliti na pomoći u ovom projektu. "
     "Postoji mnogo načina za rješavanje problema i svaki od njih ima svoje prednosti. Rekla je da nisu mogli "
     "pronaći knjigu jer ju je netko uzeo sa stola. Ako želite naučiti više o povijesti svijeta, trebali biste "
     "čitati što više i postavljati dobra pitanja. Neka od ove djece igrala su se vani dok su njihovi roditelji "
     "razgovarali o poslu, novcu i vremenu. Danas smo zajedno doručkovali, a zatim otišli na tržnicu. Vlada je "
     "najavila nove mjere."},
    {"ru", LANGUAGE_CYRILLIC,
     "Люди, которые живут в этом городе, каждый день делают много дел. Когда мы приехали сюда в первый раз, мы не "
     "знали, что произойдет, но теперь это наш дом. Я хотел бы поблагодарить вас за помощь в этом проекте. Есть "
     "много способов решить эту проблему, и у каждого из них свои преимущества. Она сказала, что они не могли "
     "найти книгу, потому что кто-то взял её со стола. Если ты хочешь узнать больше об истории мира, нужно как "
     "можно больше читать и задавать хорошие вопросы. Пожалуйста, напишите мне, как только сможете. Некоторые "
     "дети играли на улице, пока их родители говорили о работе, деньгах и погоде. Прошло много времени, однако мы "
     "снова увидимся на следующей неделе. Сегодня мы вместе позавтракали, а затем пошли на рынок. Правительство "
     "объявило о новых мерах. Все были очень рады, что он был там вместе с ней."},
    {"uk", LANGUAGE_CYRILLIC,
     "Люди, які живуть у цьому місті, щодня мають багато справ. Коли ми приїхали сюди вперше, ми не знали, що "
     "станеться, але тепер це наш дім. Я хотів би подякувати вам за допомогу в цьому проєкті. Є багато способів "
     "вирішити цю проблему, і кожен з них має свої переваги. Вона сказала, що вони не могли знайти книгу, тому що "
     "хтось узяв її зі столу. Якщо ти хочеш дізнатися більше про історію світу, потрібно якомога більше читати та "
     "ставити добрі запитання. Будь ласка, напишіть мені, як тільки зможете. Деякі діти гралися надворі, поки "
     "їхні батьки говорили про роботу, гроші та погоду. Минуло багато часу, однак ми знову побачимося наступного "
     "тижня. Сьогодні ми разом поснідали, а потім пішли на ринок. Уряд оголосив про нові заходи. Він був дуже "
     "радий, що всі були там."},
    {"bg", LANGUAGE_CYRILLIC,
     "Хората, които живеят в този град, имат много неща за вършене всеки ден. Когато дойдохме тук за първи път, "
     "не знаехме какво ще се случи, но сега това е нашият дом. Бих искал да ви благодаря за помощта в този "
     "проект. Има много начини да се реши проблемът и всеки от тях има своите предимства. Тя каза, че не са могли "
     "да намерят книгата, защото някой я е взел от масата. Ако искаш да научиш повече за историята на света, "
     "трябва да четеш колкото се може повече и да задаваш добри въпроси. Моля, пишете ми веднага щом можете. "
     "Някои от децата играеха навън, докато родителите им говореха за работа, пари и времето. Днес закусихме "
     "заедно и след това отидохме на пазара. Правителството обяви нови мерки. Всички бяха много щастливи, че той "
     "беше там с нея."},
    {"mk", LANGUAGE_CYRILLIC,
     "Луѓето кои живеат во овој град имаат многу работи што треба да ги направат секој ден. Кога дојдовме тука за "
     "прв пат, не знаевме што ќе се случи, но сега ова е нашиот дом. Би сакал да ви се заблагодарам за помошта во "
     "овој проект. Постојат многу начини да се реши проблемот и секој од нив има свои предности. Таа рече дека не "
     "можеле да ја најдат книгата бидејќи некој ја зел од масата. Ако сакаш да дознаеш повеќе за историјата на "
     "светот, треба да читаш колку што е можно повеќе. Денес појадувавме заедно, а потоа отидовме на пазар. "
     "Владата објави нови мерки."},
    {"ar", LANGUAGE_ARABIC,
     "الناس الذين يعيشون في هذه المدينة لديهم الكثير من الأشياء للقيام بها كل يوم. عندما جئنا إلى هنا لأول مرة لم "
     "نكن نعرف ماذا سيحدث، ولكن الآن هذا هو بيتنا. أود أن أشكركم على مساعدتكم في هذا المشروع. هناك طرق كثيرة لحل "
     "المشكلة ولكل منها مزاياها الخاصة. قالت إنهم لم يتمكنوا من العثور على الكتاب لأن شخصا ما أخذه من الطاولة. "
     "إذا كنت تريد أن تتعلم المزيد عن تاريخ العالم، يجب أن تقرأ قدر الإمكان وتطرح أسئلة جيدة. من فضلك اكتب لي في "
     "أقرب وقت ممكن. كان بعض هؤلاء الأطفال يلعبون في الخارج بينما كان آباؤهم يتحدثون عن العمل والمال والطقس. "
     "أعلنت الحكومة عن إجراءات جديدة للعمال. من المهم أيضا النوم جيدا وتناول طعام صحي."},
    {"fa", LANGUAGE_ARABIC,
     "مردمی که در این شهر زندگی می‌کنند هر روز کارهای زیادی برای انجام دادن دارند. وقتی برای اولین بار به اینجا "
     "آمدیم نمی‌دانستیم چه اتفاقی خواهد افتاد، اما حالا اینجا خانه ماست. می‌خواهم از شما برای کمک در این پروژه "
     "تشکر کنم. راه‌های زیادی برای حل مشکل وجود دارد و هر کدام مزایای خود را دارد. او گفت که آنها نتوانستند کتاب "
     "را پیدا کنند زیرا کسی آن را از روی میز برداشته بود. اگر می‌خواهید بیشتر درباره تاریخ جهان یاد بگیرید، باید "
     "تا حد امکان بخوانید و سوال‌های خوب بپرسید. لطفا هر چه زودتر برای من بنویسید. برخی از این کودکان بیرون بازی "
     "می‌کردند در حالی که پدر و مادرشان درباره کار، پول و هوا صحبت می‌کردند. دولت اقدامات جدیدی را اعلام کرد. "
     "همچنین خوب خوابیدن و غذای سالم خوردن مهم است."},
    {"ur", LANGUAGE_ARABIC,
     "جو لوگ اس شہر میں رہتے ہیں ان کے پاس ہر روز کرنے کے لیے بہت سے کام ہوتے ہیں۔ جب ہم پہلی بار یہاں آئے تو "
     "ہمیں معلوم نہیں تھا کہ کیا ہوگا، لیکن اب یہ ہمارا گھر ہے۔ میں اس منصوبے میں آپ کی مدد کے لیے آپ کا شکریہ "
     "ادا کرنا چاہتا ہوں۔ مسئلے کو حل کرنے کے بہت سے طریقے ہیں اور ان میں سے ہر ایک کے اپنے فائدے ہیں۔ اس نے کہا "
     "کہ وہ کتاب نہیں ڈھونڈ سکے کیونکہ کسی نے اسے میز سے اٹھا لیا تھا۔ اگر آپ دنیا کی تاریخ کے بارے میں مزید "
     "جاننا چاہتے ہیں تو آپ کو زیادہ سے زیادہ پڑھنا چاہیے اور اچھے سوال پوچھنے چاہئیں۔ براہ کرم مجھے جلد لکھیں۔ "
     "کچھ بچے باہر کھیل رہے تھے جبکہ ان کے والدین کام، پیسے اور موسم کے بارے میں بات کر رہے تھے۔ حکومت نے نئے "
     "اقدامات کا اعلان کیا ہے۔"},
    {"hi", LANGUAGE_DEVANAGARI,
     "जो लोग इस शहर में रहते हैं उनके पास हर दिन करने के लिए बहुत सारे काम होते हैं। जब हम पहली बार यहाँ आए तो "
     "हमें नहीं पता था कि क्या होगा, लेकिन अब यह हमारा घर है। मैं इस परियोजना में आपकी मदद के लिए आपको धन्यवाद "
     "देना चाहता हूँ। समस्या को हल करने के कई तरीके हैं और उनमें से प्रत्येक के अपने फायदे हैं। उसने कहा कि वे "
     "किताब नहीं ढूंढ सके क्योंकि किसी ने उसे मेज से उठा लिया था। यदि आप दुनिया के इतिहास के बारे में अधिक जानना "
     "चाहते हैं, तो आपको जितना हो सके पढ़ना चाहिए और अच्छे सवाल पूछने चाहिए। कुछ बच्चे बाहर खेल रहे थे जबकि उनके "
     "माता-पिता काम, पैसे और मौसम के बारे में बात कर रहे थे। सरकार ने श्रमिकों के लिए नए उपायों की घोषणा की है। "
     "अच्छी नींद लेना और स्वस्थ भोजन करना भी महत्वपूर्ण है।"},
    {"mr", LANGUAGE_DEVANAGARI,
     "जे लोक या शहरात राहतात त्यांच्याकडे दररोज करण्यासाठी खूप गोष्टी असतात. जेव्हा आम्ही पहिल्यांदा येथे आलो "
     "तेव्हा काय होईल हे आम्हाला माहीत नव्हते, पण आता हे आमचे घर आहे. या प्रकल्पात तुमच्या मदतीबद्दल मी तुमचे "
     "आभार मानू इच्छितो. समस्या सोडवण्याचे अनेक मार्ग आहेत आणि त्यापैकी प्रत्येकाचे स्वतःचे फायदे आहेत. ती "
     "म्हणाली की त्यांना पुस्तक सापडले नाही कारण कोणीतरी ते टेबलावरून घेतले होते. जर तुम्हाला जगाच्या "
     "इतिहासाबद्दल अधिक जाणून घ्यायचे असेल तर तुम्ही शक्य तितके वाचले पाहिजे आणि चांगले प्रश्न विचारले पाहिजेत. "
     "काही मुले बाहेर खेळत होती आणि त्यांचे पालक काम, पैसे आणि हवामानाबद्दल बोलत होते. सरकारने कामगारांसाठी नवीन "
     "उपाय जाहीर केले आहेत. चांगली झोप घेणे देखील महत्त्वाचे आहे."},
    {"ne", LANGUAGE_DEVANAGARI,
     "यो शहरमा बस्ने मानिसहरूसँग हरेक दिन गर्नुपर्ने धेरै कुराहरू छन्। जब हामी पहिलो पटक यहाँ आयौं, हामीलाई के "
     "हुन्छ भन्ने थाहा थिएन, तर अहिले यो हाम्रो घर हो। यस परियोजनामा तपाईंको सहयोगको लागि म तपाईंलाई धन्यवाद दिन "
     "चाहन्छु। समस्या समाधान गर्ने धेरै तरिकाहरू छन् र तीमध्ये प्रत्येकका आफ्नै फाइदाहरू छन्। उनले भनिन् कि "
     "उनीहरूले किताब फेला पार्न सकेनन् किनभने कसैले टेबलबाट लिएको थियो। यदि तपाईं संसारको इतिहासको बारेमा थप "
     "जान्न चाहनुहुन्छ भने, तपाईंले सकेसम्म धेरै पढ्नुपर्छ र राम्रा प्रश्नहरू सोध्नुपर्छ। केही बालबालिकाहरू बाहिर "
     "खेलिरहेका थिए जबकि उनीहरूका आमाबाबु काम, पैसा र मौसमको बारेमा कुरा गरिरहेका थिए। सरकारले नयाँ उपायहरू घोषणा "
     "गरेको छ। राम्रोसँग सुत्नु पनि महत्त्वपूर्ण छ।"},
};
// clang-format on

const size_t language_sample_count = sizeof language_samples / sizeof language_samples[0];
